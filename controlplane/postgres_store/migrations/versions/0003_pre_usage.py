"""Allocations as the agents report them, and the usage that is summed up from them."""

from __future__ import annotations

from controlplane.postgres_store.migrations.script import run_script

revision = "0003"
down_revision = "0002"

_STATEMENTS = """
-- One row per TURN allocation. Its id is made from node, coturn boot and session id, so that a report that comes again finds it.
CREATE TABLE allocations (
    started_at timestamptz NOT NULL,
    id uuid NOT NULL,
    node_id uuid NOT NULL,
    region text NOT NULL,
    coturn_boot_id text NOT NULL,
    session_id text NOT NULL,
    credential_id uuid,
    credential_expires_at timestamptz,
    project_id uuid,
    room text,
    initiator_client text,
    receiver_client text,
    client_address inet,
    transport text,
    bytes_from_client bigint NOT NULL DEFAULT 0,
    bytes_to_client bigint NOT NULL DEFAULT 0,
    packets_from_client bigint NOT NULL DEFAULT 0,
    packets_to_client bigint NOT NULL DEFAULT 0,
    bits_per_second bigint NOT NULL DEFAULT 0,
    ended_at timestamptz,
    end_reason text,
    revision bigint NOT NULL,
    first_reported_at timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz NOT NULL DEFAULT now(),
    -- Whose it is: pending until the credential's record is there; foreign when the credential was not issued for this node.
    matched text NOT NULL DEFAULT 'pending' CHECK (matched IN ('pending', 'matched', 'foreign')),
    -- When a pending one is to be looked up next.
    match_at timestamptz NOT NULL DEFAULT now(),
    -- A matched one of which something is not in the usage table yet. What is: the columns below, and whether its end was told.
    uncounted boolean NOT NULL DEFAULT false,
    end_told boolean NOT NULL DEFAULT false,
    counted_allocations integer NOT NULL DEFAULT 0,
    counted_bytes_from_client bigint NOT NULL DEFAULT 0,
    counted_bytes_to_client bigint NOT NULL DEFAULT 0,
    counted_seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (started_at, id)
) PARTITION BY RANGE (started_at);
CREATE TABLE allocations_rest PARTITION OF allocations DEFAULT;
CREATE INDEX allocations_uncounted ON allocations (started_at, id) WHERE uncounted;
CREATE INDEX allocations_pending ON allocations (match_at) WHERE matched = 'pending';
CREATE INDEX allocations_live ON allocations (project_id, credential_id) WHERE ended_at IS NULL;
-- An allocation knows its credential by the id alone. The ids grow with time, so this index grows at its end.
CREATE INDEX credentials_by_id ON credentials (id);
-- What is yet to be added to usage: written with the records, in the same transaction, and folded by the leader.
-- `at` is the begin of the hour, UTC; first_at and last_at are the first and the last instant that the row stands for.
CREATE TABLE usage_deltas (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id uuid NOT NULL,
    at timestamptz NOT NULL,
    dimension text NOT NULL CHECK (dimension IN ('project', 'room', 'client', 'region', 'node')),
    key text NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    credentials bigint NOT NULL DEFAULT 0,
    allocations bigint NOT NULL DEFAULT 0,
    bytes_from_client bigint NOT NULL DEFAULT 0,
    bytes_to_client bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0
);
-- A node that reports nonsense must not stop the counting for everybody: sums end at the largest bigint.
CREATE FUNCTION bounded_sum(one numeric, other numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT least(one + other, 9223372036854775807)::bigint
$$;
-- For dimension project the key is empty. `at` is the begin of the hour or day, UTC.
CREATE TABLE usage (
    project_id uuid NOT NULL,
    bucket text NOT NULL CHECK (bucket IN ('hour', 'day')),
    dimension text NOT NULL,
    at timestamptz NOT NULL,
    key text NOT NULL,
    credentials bigint NOT NULL DEFAULT 0,
    allocations bigint NOT NULL DEFAULT 0,
    bytes_from_client bigint NOT NULL DEFAULT 0,
    bytes_to_client bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, bucket, dimension, at, key)
);
-- Rooms and clients that were ever named in a credential, with their totals.
CREATE TABLE subjects (
    project_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('room', 'client')),
    key text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    credentials bigint NOT NULL DEFAULT 0,
    allocations bigint NOT NULL DEFAULT 0,
    bytes_from_client bigint NOT NULL DEFAULT 0,
    bytes_to_client bigint NOT NULL DEFAULT 0,
    seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, kind, key)
);
CREATE INDEX subjects_in_order ON subjects (project_id, kind, first_seen_at DESC, key DESC);
-- Daily partitions: of both tables of records, and of what is kept of the fleet's history, which has no part for the rest.
CREATE FUNCTION ensure_partitions(parent text, days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE day date; name text; at_column text; taken boolean;
BEGIN
    at_column := CASE parent WHEN 'credentials' THEN 'issued_at' WHEN 'allocations' THEN 'started_at' ELSE 'at' END;
    FOR ahead IN 0..days LOOP
        day := (now() AT TIME ZONE 'UTC')::date + ahead;
        name := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            taken := false;
            IF to_regclass(parent || '_rest') IS NOT NULL THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I >= %L AND %I < %L)', parent || '_rest', at_column,
                               day::timestamp AT TIME ZONE 'UTC', at_column, (day + 1)::timestamp AT TIME ZONE 'UTC') INTO taken;
            END IF;
            IF NOT taken THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
                               day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            END IF;
        END IF;
    END LOOP;
END $$;
DROP FUNCTION ensure_credential_partitions(integer);
SELECT ensure_partitions('allocations', 7);
"""


def upgrade() -> None:
    run_script(_STATEMENTS)


def downgrade() -> None:
    raise NotImplementedError("turnfleet does not migrate backwards: restore a backup.")
