"""Which master key a node's secrets come from."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0012"
down_revision = "0011"

_STATEMENTS = """
-- The keys that new secrets came from, one after another: the newest is the one in use. Never the keys themselves.
CREATE TABLE master_keys (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id text NOT NULL,
    adopted_at timestamptz NOT NULL DEFAULT now()
);

-- Who runs with which keys: the key in use changes only when all of them have the new one.
CREATE TABLE key_holders (
    process_id uuid PRIMARY KEY,
    current_key text NOT NULL,
    known_keys text[] NOT NULL,
    seen_at timestamptz NOT NULL
);

-- VERSION:KEY for each version that was the first of its key, ascending. Empty: all come from the first key there ever was.
ALTER TABLE nodes ADD COLUMN secret_keys text[] NOT NULL DEFAULT '{}';

CREATE FUNCTION under_active_key(runs text[], version integer) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN active.key_id IS NULL OR split_part(runs[cardinality(runs)], ':', 2) = active.key_id THEN runs
        ELSE runs || (version || ':' || active.key_id) END
    FROM (SELECT (SELECT key_id FROM master_keys ORDER BY number DESC LIMIT 1) AS key_id) AS active
$$;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
