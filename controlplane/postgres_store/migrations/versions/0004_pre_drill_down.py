"""Indexes that serve the lists of records, and what removes old ones."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0004"
down_revision = "0003"

_STATEMENTS = """
-- Every list is of one project and ordered by time and id: one index per filter gives its rows in that order.
CREATE INDEX credentials_of_project ON credentials (project_id, issued_at DESC, id DESC);
CREATE INDEX credentials_of_room ON credentials (project_id, room, issued_at DESC, id DESC) WHERE room IS NOT NULL;
CREATE INDEX credentials_of_initiator ON credentials (project_id, initiator_client, issued_at DESC, id DESC)
    WHERE initiator_client IS NOT NULL;
CREATE INDEX credentials_of_receiver ON credentials (project_id, receiver_client, issued_at DESC, id DESC)
    WHERE receiver_client IS NOT NULL;
CREATE INDEX credentials_of_region ON credentials (project_id, region, issued_at DESC, id DESC);
CREATE INDEX credentials_of_node ON credentials (project_id, (node_ids[1]), issued_at DESC, id DESC);
CREATE INDEX credentials_of_second_node ON credentials (project_id, (node_ids[2]), issued_at DESC, id DESC)
    WHERE node_ids[2] IS NOT NULL;
CREATE INDEX allocations_of_project ON allocations (project_id, started_at DESC, id DESC);
CREATE INDEX allocations_of_room ON allocations (project_id, room, started_at DESC, id DESC) WHERE room IS NOT NULL;
CREATE INDEX allocations_of_initiator ON allocations (project_id, initiator_client, started_at DESC, id DESC)
    WHERE initiator_client IS NOT NULL;
CREATE INDEX allocations_of_receiver ON allocations (project_id, receiver_client, started_at DESC, id DESC)
    WHERE receiver_client IS NOT NULL;
CREATE INDEX allocations_of_region ON allocations (project_id, region, started_at DESC, id DESC);
CREATE INDEX allocations_of_node ON allocations (project_id, node_id, started_at DESC, id DESC);
CREATE INDEX allocations_of_credential ON allocations (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX allocations_live_in_order ON allocations (project_id, started_at DESC, id DESC) WHERE ended_at IS NULL;
-- One room's or node's usage over time; and what is too old, for the job that deletes it.
CREATE INDEX usage_of_key ON usage (project_id, bucket, dimension, key, at);
CREATE INDEX usage_by_age ON usage (bucket, at);
-- One day of records that is over and before that day; its name, or NULL.
CREATE FUNCTION drop_oldest_partition(parent text, before_day date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE name text;
BEGIN
    SELECT child.relname INTO name FROM pg_inherits i JOIN pg_class child ON child.oid = i.inhrelid
    WHERE i.inhparent = parent::regclass AND child.relname ~ ('^' || parent || '_[0-9]{8}$')
        AND right(child.relname, 8) < to_char(before_day, 'YYYYMMDD')
    ORDER BY child.relname LIMIT 1;
    IF name IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', name);
    END IF;
    RETURN name;
END $$;
-- In the blocks from first_block up to end_block of one part of credentials or allocations; how many had an address.
CREATE FUNCTION forget_client_addresses(part text, before_at timestamptz, first_block bigint, end_block bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE cleared bigint;
BEGIN
    EXECUTE format('UPDATE %I SET client_address = NULL WHERE ctid >= %L AND ctid < %L AND client_address IS NOT NULL AND %I < %L',
                   part, format('(%s,0)', first_block), format('(%s,0)', end_block),
                   CASE WHEN part LIKE 'credentials%' THEN 'issued_at' ELSE 'started_at' END, before_at);
    GET DIAGNOSTICS cleared = ROW_COUNT;
    RETURN cleared;
END $$;
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
