"""What credentials bring is learned from the real tables, published, and read by replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from controlplane.fleet.policy import Policy
from controlplane.fleet.view import FleetView
from controlplane.flows.learn_conversion import ConversionLearner, ConversionWatch
from controlplane.postgres_store.credentials import insert_credentials
from controlplane.redis_store.conversion import ConversionStore
from tests.builders import make_issue
from tests.databases import PatientDatabase
from tests.running_api import until

BUSY, IDLE = uuid4(), uuid4()


class World:
    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database = PatientDatabase(database_url)
        self.store = ConversionStore.connect(redis_url)
        self.learner = ConversionLearner(self.database, self.store)
        self.view = FleetView(policy=Policy())

    async def issue(self, project: UUID, count: int, *, ago: float) -> list[UUID]:
        """Credentials of so many seconds ago."""
        at = datetime.now(UTC) - timedelta(seconds=ago)
        issues = [make_issue(issued_at=at, credential_id=uuid4(), project_id=project) for _ in range(count)]
        assert await insert_credentials(self.database, issues) == []
        return [issue.credential_id for issue in issues]

    async def allocate(self, project: UUID, credential: UUID, *, relayed: int, rate: int = 0, ago: float = 60.0) -> None:
        await self.rows(
            "INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, credential_id, project_id,"
            " bytes_from_client, bits_per_second, revision, matched)"
            " VALUES (now() - make_interval(secs => $1), gen_random_uuid(), gen_random_uuid(), 'eu', 'boot', '1', $2, $3, $4, $5,"
            " 1, 'matched')",
            ago,
            credential,
            project,
            relayed,
            rate,
        )

    async def rows(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(statement, *values))

    async def learned(self) -> tuple[float, float]:
        """Bits per second of a credential of the busy project and of the idle one, at a replica."""
        await ConversionWatch(self.store, self.view).read_once()
        busy, idle = (self.view.conversion.weight(str(each)) for each in (BUSY, IDLE))
        return busy.bits_per_second, idle.bits_per_second


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    world = World(database_url, redis_url)
    yield world
    await world.store.close()
    await world.database.close()


async def test_projects_are_told_apart_by_what_their_credentials_relayed(world: World) -> None:
    for credential in await world.issue(BUSY, 400, ago=90):
        await world.allocate(BUSY, credential, relayed=200_000)
    for credential in (await world.issue(IDLE, 400, ago=90))[:20]:
        await world.allocate(IDLE, credential, relayed=5_000)
    await world.learner.learn()
    busy, idle = await world.learned()
    mean = (400 + 0.15 * 200) / 1000
    assert busy == pytest.approx((400 + 50 * mean) / 450 * 2e6)
    assert idle == pytest.approx(50 * mean / 450 * 2e6)
    assert world.view.conversion.weight(str(IDLE)).allocations == pytest.approx((20 + 50 * (420 + 200) / 1000) / 450)


async def test_what_is_too_young_to_tell_waits_and_nothing_counts_twice(world: World) -> None:
    await world.learner.learn()
    await world.issue(IDLE, 100, ago=58)

    async def learned_by_another_leader() -> bool:
        await ConversionLearner(world.database, world.store).learn()
        await world.learned()
        return str(IDLE) in world.view.conversion.projects

    assert not await learned_by_another_leader()
    assert await until(learned_by_another_leader, within_seconds=10) > 0.5
    for _ in range(3):
        assert await learned_by_another_leader()
    assert world.view.conversion.projects[str(IDLE)].issued == pytest.approx(100, rel=0.01)


async def test_the_rate_of_a_session_is_that_of_those_that_relay_now(world: World) -> None:
    (credential,) = await world.issue(BUSY, 1, ago=90)
    for _ in range(450):
        await world.allocate(BUSY, credential, relayed=10**6, rate=4_000_000)
    for _ in range(100):
        await world.allocate(BUSY, credential, relayed=0, rate=5_000)
    await world.learner.learn()
    await world.learned()
    assert world.view.conversion.weight(None, forced_relay=True).bits_per_second == pytest.approx((450 * 4e6 + 50 * 2e6) / 500)


async def test_without_redis_nothing_is_learned_and_nothing_fails(database_url: str) -> None:
    world = World(database_url, "redis://127.0.0.1:1")
    await world.learner.learn()
    assert (await world.learned())[0] == pytest.approx(0.3e6)
    await world.store.close()
    await world.database.close()
