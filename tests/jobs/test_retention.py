"""What is too old goes, and nothing else, on a real PostgreSQL with records of many ages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio

from controlplane.flows.retention import Kept, Retention
from controlplane.postgres_store.credentials import ensure_partitions
from controlplane.postgres_store.events import last_health, last_region_states
from controlplane.postgres_store.retention import retention_database
from tests.databases import PatientDatabase
from tests.event_log import write

PROJECT = UUID(int=99)
KEPT = Kept(
    records=timedelta(days=90),
    client_addresses=timedelta(days=30),
    usage=timedelta(days=400),
    audit=timedelta(days=200),
    events=timedelta(days=30),
    history=timedelta(days=30),
)
AGES = (0, 1, 29, 31, 60, 89, 91, 92, 200)


class Records:
    def __init__(self, url: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.url = url
        self.connection = connection
        self.database = retention_database(url)

    async def make_day(self, age_days: int) -> None:
        """The partitions of a day that is over, as they were made when it was to come."""
        for parent in ("credentials", "allocations"):
            await self.connection.execute(f"""DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - {age_days}; BEGIN
                EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF {parent} FOR VALUES FROM (%L) TO (%L)',
                    '{parent}_' || to_char(day, 'YYYYMMDD'), day::timestamp AT TIME ZONE 'UTC',
                    (day + 1)::timestamp AT TIME ZONE 'UTC');
            END $$""")

    async def put(self, age_days: float, count: int = 1) -> None:
        """Credentials and allocations of that age, with a client's address."""
        at = datetime.now(UTC) - timedelta(days=age_days)
        await self.connection.execute(
            """INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions,
                selection, degraded, client_address)
            SELECT $1::timestamptz, gen_random_uuid(), $2, 't', $1, 'eu', '{}', '{}', 'nearest', false, '192.0.2.7'
            FROM generate_series(1, $3)""",
            at, PROJECT, count,
        )  # fmt: skip
        await self.connection.execute(
            """INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, revision, client_address)
            SELECT $1, gen_random_uuid(), $2, 'eu', 'boot', '1', 1, '192.0.2.7' FROM generate_series(1, $3)""",
            at, uuid4(), count,
        )  # fmt: skip

    async def ages(self, table: str, at: str, condition: str = "true") -> list[int]:
        rows = await self.connection.fetch(f"SELECT {at} AS at FROM {table} WHERE {condition} ORDER BY {at} DESC")
        return [round((datetime.now(UTC) - row["at"]) / timedelta(days=1)) for row in rows]

    async def partitions(self) -> set[str]:
        rows = await self.connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhparent "
            "WHERE relname IN ('credentials', 'allocations')"
        )
        return {row["name"] for row in rows}


@pytest_asyncio.fixture(loop_scope="session")
async def records(database_url: str) -> AsyncIterator[Records]:
    connection = await asyncpg.connect(database_url)
    records = Records(database_url, connection)
    yield records
    await records.database.close()
    await connection.close()


async def run(records: Records, **changes: Any) -> Retention:
    retention = Retention(records.database, KEPT, **changes)
    await retention.run()
    return retention


async def test_days_that_are_too_old_are_dropped_and_no_other(records: Records) -> None:
    for age in AGES[1:]:
        await records.make_day(age)
    for age in AGES:
        await records.put(age)
    before = await records.partitions()
    await run(records)
    assert await records.ages("credentials", "issued_at") == [0, 1, 29, 31, 60, 89]
    assert await records.ages("allocations", "started_at") == [0, 1, 29, 31, 60, 89]
    gone = {
        f"{parent}_{datetime.now(UTC) - timedelta(days=age):%Y%m%d}"
        for parent in ("credentials", "allocations")
        for age in AGES[-3:]
    }
    assert before - await records.partitions() == gone
    after = await records.partitions()
    await run(records)
    assert await records.partitions() == after


async def test_late_records_that_no_day_covers_are_deleted_too(records: Records) -> None:
    for age in AGES[1:]:
        await records.put(age, count=3)
    assert len(await records.ages("credentials_rest", "issued_at")) == 24
    await run(records)
    assert sorted(set(await records.ages("credentials_rest", "issued_at"))) == [1, 29, 31, 60, 89]
    assert sorted(set(await records.ages("allocations_rest", "started_at"))) == [1, 29, 31, 60, 89]


async def test_older_records_lose_the_address_of_their_client_and_nothing_else(records: Records) -> None:
    await records.make_day(31)
    await records.make_day(29)
    await records.put(29, count=2)
    await records.put(31, count=20_000)  # many stretches
    await records.put(60)  # lies in the rest
    await run(records)
    for table, at in (("credentials", "issued_at"), ("allocations", "started_at")):
        assert await records.ages(table, at, "client_address IS NOT NULL") == [29, 29]
        assert len(await records.ages(table, at)) == 20_003
    kept = await records.connection.fetchrow("SELECT * FROM credentials WHERE issued_at < now() - interval '50 days'")
    assert kept is not None
    assert (kept["token_id"], kept["selection"], kept["client_address"]) == ("t", "nearest", None)


async def test_a_run_that_is_out_of_time_goes_on_where_it_stopped(records: Records) -> None:
    await records.put(40, count=20_000)
    retention = Retention(records.database, KEPT, run_seconds=0.0)
    assert not await retention.run()
    assert len(await records.ages("credentials", "issued_at", "client_address IS NOT NULL")) == 20_000
    retention = Retention(records.database, KEPT, run_seconds=0.05)
    runs = 1
    while not await retention.run():
        runs += 1
        assert runs < 500
    assert runs > 1
    assert await records.ages("credentials", "issued_at", "client_address IS NOT NULL") == []
    assert await records.ages("allocations", "started_at", "client_address IS NOT NULL") == []


async def test_usage_is_kept_by_the_hour_for_long_and_by_the_day_for_longer(records: Records) -> None:
    for age in (1, 89, 91, 200, 399, 402):
        for bucket in ("hour", "day"):
            await records.connection.execute(
                "INSERT INTO usage (project_id, bucket, dimension, at, key) VALUES ($1, $2, 'project', now() - $3::interval, '')",
                PROJECT, bucket, timedelta(days=age),
            )  # fmt: skip
    await run(records)
    assert await records.ages("usage", "at", "bucket = 'hour'") == [1, 89]
    assert await records.ages("usage", "at", "bucket = 'day'") == [1, 89, 91, 200, 399]


async def test_rooms_that_nobody_was_in_for_long_are_forgotten(records: Records) -> None:
    for age in (0, 399, 402):
        await records.connection.execute(
            "INSERT INTO subjects (project_id, kind, key, first_seen_at, last_seen_at) "
            "VALUES ($1, 'room', $2, now() - interval '900 days', now() - $3::interval)",
            PROJECT, f"room-{age}", timedelta(days=age),
        )  # fmt: skip
    await run(records)
    assert await records.ages("subjects", "last_seen_at") == [0, 399]


async def test_who_changed_what_is_forgotten_after_its_own_time(records: Records) -> None:
    for age in (0, 199, 202, 500):
        await records.connection.execute(
            "INSERT INTO audit (at, actor_token_id, actor_kind, request_id, action, object) "
            "VALUES (now() - $1::interval, 't', 'operator', 'r', 'project.patch', 'demo')",
            timedelta(days=age),
        )
    await run(records)
    assert await records.ages("audit", "at") == [0, 199]


async def test_events_are_forgotten_but_what_each_was_last_told_to_be(records: Records) -> None:
    node, forgotten = uuid4(), uuid4()
    await records.connection.execute(
        "INSERT INTO regions (slug, name, city, country, latitude, longitude) VALUES ('eu', 'E', 'C', 'DE', 0, 0)"
    )
    await records.connection.execute("INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, 'n', 'eu', '')", node)
    ids = []
    for age, kind, node_id, region in (
        (90, "node.health", node, "eu"),
        (60, "node.health", node, "eu"),  # its last
        (60, "region.state", None, "eu"),  # its last
        (60, "node.health", forgotten, "eu"),
        (60, "region.state", None, "gone"),
        (32, "node.intent", node, "eu"),
        (29, "node.intent", node, "eu"),
        (29, "node.health", forgotten, "eu"),
    ):
        at = datetime.now(UTC) - timedelta(days=age)
        ids += await write(records.connection, at=at, kind=kind, node_id=node_id, region=region)
    database = PatientDatabase(records.url)
    told = await last_health(database), await last_region_states(database)
    assert told[0][str(node)] == "down"
    for _ in range(2):
        await run(records)
        rows = await records.connection.fetch("SELECT id FROM fleet_events ORDER BY id")
        assert [row["id"] for row in rows] == [ids[1], ids[2], ids[6], ids[7]]
        assert await records.connection.fetchval("SELECT up_to_id FROM fleet_events_forgotten") == ids[5]
    assert await last_health(database) == told[0]
    assert await last_region_states(database) == {"eu": "down"}
    await database.close()


async def test_rolls_are_forgotten_but_the_last_of_each_region(records: Records) -> None:
    await records.connection.execute(
        "INSERT INTO regions (slug, name, city, country, latitude, longitude)"
        " SELECT slug, 'E', 'C', 'DE', 0, 0 FROM unnest('{eu,us}'::text[]) AS slug"
    )
    for number, (region, state, ended_days_ago) in enumerate(
        [("eu", "stopped", 60), ("eu", "finished", 32), ("eu", "finished", 29), ("eu", "running", None), ("us", "stopped", 60)]
    ):
        await records.connection.execute(
            "INSERT INTO rolls (id, region, state, reason, max_unavailable, deadline_seconds, force, started_by, ended_at)"
            " VALUES ($1, $2, $3, '', 1, 60, true, 't', now() - make_interval(days => $4))",
            UUID(int=number), region, state, ended_days_ago,
        )  # fmt: skip
    await run(records)
    assert [row["id"].int for row in await records.connection.fetch("SELECT id FROM rolls ORDER BY id")] == [2, 3, 4]
    version = await records.connection.fetchval("SELECT version FROM directory_version")
    await run(records)
    assert await records.connection.fetchval("SELECT version FROM directory_version") == version, "nothing to read anew"


async def test_it_runs_beside_the_making_of_partitions(records: Records) -> None:
    database = PatientDatabase(records.url)
    await ensure_partitions(database, days=9)
    before = await records.partitions()
    await run(records)
    assert await records.partitions() == before
    await database.close()


async def test_what_is_spent_is_deleted_a_day_later(records: Records) -> None:
    await records.connection.execute(
        "INSERT INTO regions (slug, name, city, country, latitude, longitude) VALUES ('eu', 'E', 'C', 'DE', 0, 0)"
    )
    for age in (-1, 0, 3):
        await records.connection.execute(
            "INSERT INTO node_expiries (node_id, secret_version, latest_at) VALUES ($1, 1, now() - $2::interval)",
            uuid4(), timedelta(days=age),
        )  # fmt: skip
        await records.connection.execute(
            "INSERT INTO join_tokens (id, sha256, region, created_by, expires_at) VALUES ($1, '', 'eu', 't', now() - $2::interval)",
            str(age), timedelta(days=age),
        )  # fmt: skip
    await run(records)
    assert await records.connection.fetchval("SELECT count(*) FROM node_expiries") == 2
    assert await records.connection.fetchval("SELECT array_agg(id ORDER BY id) FROM join_tokens") == ["-1", "0"]
