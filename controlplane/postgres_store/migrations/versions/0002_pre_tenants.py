"""What projects and tokens can be told, when tokens were used, and who changed what."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0002"
down_revision = "0001"

_STATEMENTS = """
ALTER TABLE projects
    ADD COLUMN rate_limit_per_second integer NOT NULL DEFAULT 10000 CHECK (rate_limit_per_second BETWEEN 1 AND 1000000),
    ADD COLUMN room_url_template text,
    ADD COLUMN client_url_template text,
    ADD COLUMN end_at_expiry boolean NOT NULL DEFAULT false,
    ADD COLUMN client_address_policy text NOT NULL DEFAULT 'keep' CHECK (client_address_policy IN ('keep', 'truncate', 'drop')),
    ADD COLUMN max_allocations integer CHECK (max_allocations >= 1),
    ADD COLUMN max_bits_per_second bigint CHECK (max_bits_per_second >= 1000),
    ADD COLUMN credential_max_allocations integer CHECK (credential_max_allocations >= 1),
    ADD COLUMN credential_max_bits_per_second bigint CHECK (credential_max_bits_per_second >= 1000);
ALTER TABLE tokens
    ADD COLUMN created_by text NOT NULL DEFAULT 'bootstrap',
    ADD COLUMN successor_id text;
CREATE INDEX tokens_of_organization ON tokens (organization_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
-- Apart from tokens: a use must not tell every replica that the tenants changed.
CREATE TABLE token_uses (
    token_id text PRIMARY KEY REFERENCES tokens ON DELETE CASCADE,
    last_used_at timestamptz NOT NULL
);
-- Tenants change more often than the fleet, and need not make every replica read all nodes again.
ALTER TABLE directory_version ADD COLUMN tenants_version bigint NOT NULL DEFAULT 1;
CREATE FUNCTION bump_tenants_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET tenants_version = tenants_version + 1;
    RETURN NULL;
END $$;
DROP TRIGGER tokens_bump ON tokens;
DROP TRIGGER projects_bump ON projects;
DROP TRIGGER organizations_bump ON organizations;
CREATE TRIGGER tokens_bump AFTER INSERT OR UPDATE OR DELETE ON tokens FOR EACH STATEMENT
    EXECUTE FUNCTION bump_tenants_version();
CREATE TRIGGER projects_bump AFTER INSERT OR UPDATE OR DELETE ON projects FOR EACH STATEMENT
    EXECUTE FUNCTION bump_tenants_version();
CREATE TRIGGER organizations_bump AFTER INSERT OR UPDATE OR DELETE ON organizations FOR EACH STATEMENT
    EXECUTE FUNCTION bump_tenants_version();
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor_token_id text NOT NULL,
    actor_kind text NOT NULL,
    address inet,
    request_id text NOT NULL,
    organization_id uuid,
    project_id uuid,
    action text NOT NULL,
    object text NOT NULL,
    before jsonb,
    after jsonb
);
CREATE INDEX audit_of_organization ON audit (organization_id, id DESC);
CREATE INDEX audit_of_actor ON audit (actor_token_id, id DESC);
CREATE INDEX audit_of_action ON audit (action, id DESC);
CREATE INDEX audit_at ON audit (at);
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
