"""Tenants, tokens, regions, nodes, credentials, events.

Named NNNN_(pre|post)_words: a `pre` revision may run while the previous release still serves; a `post` one only after it.
"""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0001"
down_revision = None

_STATEMENTS = """
CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE projects (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    slug text NOT NULL,
    name text NOT NULL,
    max_ttl_seconds integer NOT NULL DEFAULT 86400 CHECK (max_ttl_seconds BETWEEN 1 AND 86400),
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organization_id, slug)
);
CREATE UNIQUE INDEX projects_one_default ON projects (organization_id) WHERE is_default;
CREATE TABLE tokens (
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('project', 'organization', 'operator')),
    organization_id uuid REFERENCES organizations ON DELETE CASCADE,
    project_id uuid REFERENCES projects ON DELETE CASCADE,
    sha256 bytea NOT NULL,
    name text NOT NULL DEFAULT '',
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    deleted_at timestamptz,
    CHECK ((kind = 'operator') = (organization_id IS NULL)),
    CHECK ((kind = 'project') = (project_id IS NOT NULL))
);
CREATE TABLE regions (
    slug text PRIMARY KEY,
    name text NOT NULL,
    city text NOT NULL,
    country text NOT NULL,
    latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    region text NOT NULL REFERENCES regions ON UPDATE CASCADE,
    token_sha256 bytea NOT NULL UNIQUE,
    intent text NOT NULL DEFAULT 'active' CHECK (intent IN ('active', 'cordoned', 'draining')),
    intent_reason text NOT NULL DEFAULT '',
    secret_versions integer[] NOT NULL DEFAULT '{1}',
    joined_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE join_tokens (
    id text PRIMARY KEY,
    sha256 bytea NOT NULL,
    region text NOT NULL REFERENCES regions ON UPDATE CASCADE ON DELETE CASCADE,
    node_name text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    used_nonce text,
    node_id uuid REFERENCES nodes ON DELETE CASCADE
);
-- One counter that every change of who-is-who bumps: a replica asks for it once a second and reads anew when it moved.
CREATE TABLE directory_version (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), version bigint NOT NULL);
INSERT INTO directory_version (version) VALUES (1);
CREATE FUNCTION bump_directory_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE directory_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER regions_bump AFTER INSERT OR UPDATE OR DELETE ON regions FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
CREATE TRIGGER nodes_bump AFTER INSERT OR UPDATE OR DELETE ON nodes FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
CREATE TRIGGER tokens_bump AFTER INSERT OR UPDATE OR DELETE ON tokens FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
CREATE TRIGGER projects_bump AFTER INSERT OR UPDATE OR DELETE ON projects FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
CREATE TRIGGER organizations_bump AFTER INSERT OR UPDATE OR DELETE ON organizations FOR EACH STATEMENT
    EXECUTE FUNCTION bump_directory_version();
CREATE TABLE credentials (
    issued_at timestamptz NOT NULL,
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    token_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    region text NOT NULL,
    node_ids uuid[] NOT NULL,
    secret_versions integer[] NOT NULL,
    selection text NOT NULL,
    node_selection text NOT NULL DEFAULT '',
    degraded boolean NOT NULL,
    initiator_client text,
    receiver_client text,
    room text,
    client_address inet,
    fixed_region text,
    preferred_region text,
    PRIMARY KEY (issued_at, id)
) PARTITION BY RANGE (issued_at);
-- Catches what no daily partition covers, such as records that wait on a disk for days.
CREATE TABLE credentials_rest PARTITION OF credentials DEFAULT;
CREATE FUNCTION ensure_credential_partitions(days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE day date; name text;
BEGIN
    FOR ahead IN 0..days LOOP
        day := (now() AT TIME ZONE 'UTC')::date + ahead;
        name := 'credentials_' || to_char(day, 'YYYYMMDD');
        IF to_regclass(name) IS NULL
            AND NOT EXISTS (SELECT FROM credentials_rest WHERE issued_at >= day::timestamp AT TIME ZONE 'UTC'
                            AND issued_at < (day + 1)::timestamp AT TIME ZONE 'UTC') THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF credentials FOR VALUES FROM (%L) TO (%L)',
                           name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        END IF;
    END LOOP;
END $$;
SELECT ensure_credential_partitions(7);
CREATE TABLE fleet_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    region text,
    node_id uuid,
    was text,
    became text,
    reason text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT 'system'
);
CREATE INDEX fleet_events_of_node ON fleet_events (node_id, id DESC);
CREATE INDEX fleet_events_of_region ON fleet_events (region, id DESC);
CREATE INDEX fleet_events_of_kind ON fleet_events (kind, id DESC);
CREATE INDEX fleet_events_at ON fleet_events (happened_at);
-- One transaction at a time inserts events, from before it takes its first id until it has ended. So ids become visible in their
-- order, and whoever has read up to one has missed none below it. The trigger runs before any row, hence before any id.
CREATE FUNCTION insert_events_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(x'65766e74'::integer);
    RETURN NULL;
END $$;
CREATE TRIGGER fleet_events_in_order BEFORE INSERT ON fleet_events FOR EACH STATEMENT EXECUTE FUNCTION insert_events_in_order();
-- Up to here some events were deleted for their age: who has read no further cannot go on without a gap.
CREATE TABLE fleet_events_forgotten (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    up_to_id bigint NOT NULL DEFAULT 0
);
INSERT INTO fleet_events_forgotten DEFAULT VALUES;
CREATE TABLE leader (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), epoch bigint NOT NULL);
INSERT INTO leader (epoch) VALUES (0);
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
