"""What was revoked, which node has to deny which credential, and which project is at its quota."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0005"
down_revision = "0004"

_STATEMENTS = """
-- A rule covers what its project issued until revoked_at, also when the record arrives later.
CREATE TABLE revocations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('credential', 'room', 'client', 'project')),
    value text NOT NULL,
    revoked_at timestamptz NOT NULL,
    -- From then on nothing that it covers can still be valid, nor arrive.
    expires_at timestamptz NOT NULL,
    -- When the credentials that were recorded before it had all been denied; NULL: the leader goes on with it.
    applied_at timestamptz,
    actor_token_id text NOT NULL
);
CREATE INDEX revocations_live ON revocations (project_id, kind, value, expires_at);
CREATE INDEX revocations_unapplied ON revocations (id) WHERE applied_at IS NULL;
-- Numbers are drawn under a lock that is held until the commit, so that a reader who has seen one has seen all before it.
CREATE SEQUENCE denial_numbers;
CREATE TABLE denials (
    node_id uuid NOT NULL,
    credential_id uuid NOT NULL,
    number bigint NOT NULL DEFAULT nextval('denial_numbers') UNIQUE,
    expires_at timestamptz NOT NULL,
    denied_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL DEFAULT 'revoked' CHECK (reason IN ('revoked', 'quota')),
    PRIMARY KEY (node_id, credential_id)
);
ALTER TABLE credentials ADD COLUMN revoked_at timestamptz;
-- Projects that are at a quota, so that each crossing is told once, whoever leads.
CREATE TABLE quotas_reached (
    project_id uuid PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    reached_at timestamptz NOT NULL DEFAULT now()
);
-- The instant inside a UUIDv7, to the millisecond: when that credential was issued.
CREATE FUNCTION instant_of_uuid7(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$SELECT to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)$$;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
