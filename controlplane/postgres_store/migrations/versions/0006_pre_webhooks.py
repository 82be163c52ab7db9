"""Webhooks, the events they are told, and every delivery."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0006"
down_revision = "0005"

_STATEMENTS = """
CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    project_id uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    url text NOT NULL,
    name text NOT NULL DEFAULT '',
    events text[] NOT NULL,
    -- Null: it is active.
    inactive_because text CHECK (inactive_because IN ('switched_off', 'gone', 'failing')),
    -- AES-256-GCM: the master key's id, nonce, ciphertext and tag. The key is derived from the master key.
    sealed_secret bytea NOT NULL,
    sealed_old_secret bytea,
    old_secret_until timestamptz,
    -- Failed attempts in a row, since when, and until when nothing is sent because of them.
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    rests_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhooks_of_project ON webhooks (project_id, id);
-- Written in the transaction of what happened. Without a project it is news about the fleet, for every project.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    project_id uuid,
    type text NOT NULL,
    -- What is sent, byte by byte: it is signed as it stands.
    body text NOT NULL
);
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    webhook_id uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    event_id uuid NOT NULL,
    type text NOT NULL,
    -- Emptied when the delivery has ended: it may hold personal data.
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
    attempts integer NOT NULL DEFAULT 0,
    -- While it is being sent: when somebody else may take it over.
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- The leader's term that sends it.
    claimed_epoch bigint,
    last_attempt_at timestamptz,
    last_status integer,
    last_error text,
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_webhook ON webhook_deliveries (webhook_id, created_at DESC, id DESC);
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
