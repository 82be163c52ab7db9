"""Rows for the benchmark of records: several projects, one with most of them, over thirty days; made inside PostgreSQL.

Rooms, clients and nodes are skewed as they are in life: a few with very many credentials, most with a handful, and one node that
the big project hardly uses while the others do.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import asyncpg

LOBBY, RARE_ROOM, BOT, RARE_CLIENT = "lobby-1", "room-rare", "bot", "client-rare"
REGIONS = 6
NODES = 60
RARE_NODE = f"00000000-0000-7000-8000-{NODES - 1:012d}"
BUSY_NODE = f"00000000-0000-7000-8000-{0:012d}"

_PARTITIONS = """
DO $$ DECLARE day date; parent text; BEGIN
    FOREACH parent IN ARRAY ARRAY['credentials', 'allocations'] LOOP
        FOR back IN 1..{days} LOOP
            day := (now() AT TIME ZONE 'UTC')::date - back;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                parent || '_' || to_char(day, 'YYYYMMDD'), parent, day::timestamp AT TIME ZONE 'UTC',
                (day + 1)::timestamp AT TIME ZONE 'UTC');
        END LOOP;
    END LOOP;
    PERFORM ensure_partitions('credentials', 7), ensure_partitions('allocations', 7);
END $$
"""
_PROJECTS = """
INSERT INTO projects (id, organization_id, slug, name)
SELECT ('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, organization_id, 'other-' || n, 'Other ' || n
FROM projects, generate_series(1, 4) AS n WHERE projects.id = $1
"""
_UUID7 = (
    "(lpad(to_hex((extract(epoch FROM {at}) * 1000)::bigint), 12, '0') || '7' || substr({hash}, 1, 3) || '8'"
    " || substr({hash}, 4, 15))::uuid"
)
_CREDENTIALS = f"""
INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions, selection, degraded,
    initiator_client, receiver_client, room, client_address)
SELECT at, {_UUID7.format(at="at", hash="hash")}, project, 'token-1', at + interval '1 minute', 'region-' || node % {REGIONS},
    ARRAY[('00000000-0000-7000-8000-' || lpad(node::text, 12, '0'))::uuid], ARRAY[1], 'nearest', false,
    CASE WHEN n % 500000 = 7 THEN '{RARE_CLIENT}' WHEN c < 0.02 THEN '{BOT}' ELSE 'client-' || floor(300000 * c * c * c) END,
    CASE WHEN r < 0.05 THEN NULL ELSE 'client-' || floor(300000 * c * c * r) END,
    CASE WHEN n % 500000 = 9 THEN '{RARE_ROOM}' WHEN r < 0.05 THEN NULL
        WHEN r < 0.25 THEN 'lobby-' || floor(1 + 10 * c) ELSE 'room-' || floor(500000 * r * c) END,
    ('10.' || n % 200 || '.' || n % 251 || '.' || n % 241)::inet
FROM (
    SELECT n, project, at, r, c, md5(n::text) AS hash,
        -- The last node serves the other projects, and one in a hundred thousand of the big one.
        CASE WHEN (project <> $1 AND r < 0.1) OR n % 100000 = 11 THEN {NODES - 1}
            ELSE floor(({NODES} - 1) * s * s)::integer END AS node
    FROM (
        SELECT n, now() - interval '{{days}} days' * random() AS at, random() AS r, random() AS c, random() AS s,
            CASE WHEN n % 5 > 0 THEN $1
                ELSE ('00000000-0000-7000-9000-' || lpad((1 + n / 5 % 4)::text, 12, '0'))::uuid END AS project
        FROM generate_series({{first}}, {{last}}) AS n
    ) AS drawn
) AS placed
"""
_ALLOCATIONS = f"""
INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, credential_id,
    credential_expires_at, project_id, room, initiator_client, receiver_client, client_address, transport, bytes_from_client,
    bytes_to_client, packets_from_client, packets_to_client, ended_at, end_reason, revision, reported_at, matched, uncounted)
SELECT at, {_UUID7.format(at="at", hash="md5(id::text)")}, node_ids[1], region, 'boot-1', '1', id, expires_at, project_id,
    room, initiator_client, receiver_client, client_address, 'udp', bytes, bytes / 2, bytes / 800, bytes / 1600,
    CASE WHEN live THEN NULL ELSE at + interval '4 minutes' END, CASE WHEN live THEN NULL ELSE 'closed' END, 2, at, 'matched', false
FROM (
    SELECT *, issued_at + interval '1 second' AS at, (random() * 50000000)::bigint AS bytes,
        -- Some five thousand live at once, a few of them for days.
        issued_at > now() - interval '3 hours' OR random() < 0.0002 AS live
    FROM credentials WHERE random() < {{share}}
) AS used
"""
_USAGE = """
INSERT INTO usage (project_id, bucket, dimension, at, key, credentials, allocations, bytes_from_client, bytes_to_client,
    seconds)
SELECT project_id, '{bucket}', '{dimension}', date_trunc('{bucket}', at, 'UTC'), key, sum(credentials), sum(allocations),
    sum(bytes), sum(bytes / 2), sum(allocations) * 240
FROM (
    SELECT project_id, issued_at AS at, {key} AS key, 1 AS credentials, 0 AS allocations, 0::bigint AS bytes FROM credentials
    UNION ALL SELECT project_id, started_at, {key_of_allocation}, 0, 1, bytes_from_client FROM allocations
) AS both_kinds WHERE key IS NOT NULL GROUP BY project_id, date_trunc('{bucket}', at, 'UTC'), key
"""
_SUBJECTS = """
INSERT INTO subjects (project_id, kind, key, first_seen_at, last_seen_at, credentials, allocations, bytes_from_client,
    bytes_to_client, seconds)
SELECT project_id, dimension, key, min(at), max(at), sum(credentials), sum(allocations), sum(bytes_from_client),
    sum(bytes_to_client), sum(seconds)
FROM usage WHERE bucket = 'hour' AND dimension IN ('room', 'client') GROUP BY project_id, dimension, key
"""
_DIMENSIONS = {
    "project": ("''", "''"),
    "room": ("room", "room"),
    "client": ("initiator_client", "initiator_client"),
    "region": ("region", "region"),
    "node": ("node_ids[1]::text", "node_id::text"),
}
_PARTS = """
SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent IN ('credentials'::regclass, 'allocations'::regclass)
"""
_INDEXES = """
SELECT c.oid::regclass::text AS name, pg_get_indexdef(c.oid) AS definition, k.conname AS constraint_name, t.relname AS table_name,
    pg_get_constraintdef(k.oid) AS constraint_definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
LEFT JOIN pg_constraint k ON k.conindid = c.oid
WHERE t.relname IN ('credentials', 'allocations', 'usage', 'subjects') ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    credentials: int
    allocations: int
    days: int = 30


async def load(connection: asyncpg.Connection[asyncpg.Record], project_id: object, size: Size) -> None:
    """Indexes are made after the rows: a third of the time. `connection` has no time-out of its own."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"  {time.monotonic() - began:5.0f} s: {what}", file=sys.stderr)

    await connection.execute(
        "SET maintenance_work_mem = '1GB'; SET work_mem = '512MB'; SET statement_timeout = 0; SELECT setseed(0.5)"
    )
    await connection.execute(_PROJECTS, project_id)
    await connection.execute(_PARTITIONS.format(days=size.days))
    indexes = await connection.fetch(_INDEXES)
    for index in indexes:
        if index["constraint_name"] is not None:
            await connection.execute(f"ALTER TABLE {index['table_name']} DROP CONSTRAINT {index['constraint_name']}")
        else:
            await connection.execute(f"DROP INDEX {index['name']}")
    step = 500_000
    for first in range(0, size.credentials, step):
        last = min(first + step, size.credentials) - 1
        await connection.execute(_CREDENTIALS.format(days=size.days, first=first, last=last), project_id)
    say(f"{size.credentials:,} credentials")
    await connection.execute(_ALLOCATIONS.format(share=size.allocations / size.credentials))
    say(f"{await connection.fetchval('SELECT count(*) FROM allocations'):,} allocations")
    for dimension, (key, key_of_allocation) in _DIMENSIONS.items():
        for bucket in ("hour", "day"):
            await connection.execute(
                _USAGE.format(bucket=bucket, dimension=dimension, key=key, key_of_allocation=key_of_allocation)
            )
    say(f"{await connection.fetchval('SELECT count(*) FROM usage'):,} rows of usage")
    await connection.execute(_SUBJECTS)
    say(f"{await connection.fetchval('SELECT count(*) FROM subjects'):,} rooms and clients")
    for index in indexes:
        if index["constraint_name"] is not None:
            await connection.execute(
                f"ALTER TABLE {index['table_name']} ADD CONSTRAINT {index['constraint_name']} {index['constraint_definition']}"
            )
        else:
            # Of a partitioned table the definition says ONLY.
            await connection.execute(index["definition"].replace(" ON ONLY ", " ON "))
    say("indexes")
    # The partitions one by one, as autovacuum does: it never looks at the parents.
    for row in await connection.fetch(_PARTS):
        await connection.execute(f"ANALYZE {row['name']}")
    await connection.execute("ANALYZE usage")
    await connection.execute("ANALYZE subjects")
    say("statistics")
