"""What the leader does about quotas and about revocations that a replica could not finish."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio
from uuid_utils.compat import uuid7

from controlplane.fleet.policy import Policy
from controlplane.flows import quotas
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.denials import Denials
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.quotas import QuotaKeeper, QuotaWatch
from controlplane.flows.revoke import RevocationKeeper, Revoker, revoke_project
from controlplane.postgres_store.audit import Actor
from controlplane.postgres_store.credentials import insert_credentials
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.directory import put_region
from controlplane.postgres_store.revocation import RuleKind
from controlplane.postgres_store.tenants import Project, all_projects
from controlplane.redis_store.live_state import LiveState
from controlplane.redis_store.quotas import ReachedQuotas
from deploy.local.redis_server import RedisServer, private_redis
from tests.builders import make_issue, make_node, make_record, make_region, make_report
from tests.databases import PatientDatabase

NODE = UUID(int=5)
ACTOR = Actor(token_id="token-1", kind="project", address=None, request_id="request-1")


class World:
    """A database with a node and a project, whose allocations the tests make up, and a Redis."""

    def __init__(self, database: Database, redis_url: str) -> None:
        self.database = database
        self.reached = ReachedQuotas.connect(redis_url)
        self.keeper = FleetKeeper(LiveState.connect(redis_url), Policy())
        self.quotas = QuotaKeeper(database, self.reached, self.keeper)
        self.revocations = RevocationKeeper(database, self.keeper)
        self.denials = Denials(database)
        self.revoker = Revoker(database, self.denials)
        self.project: Project
        self._sessions = 0

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def limit(self, **columns: int | None) -> None:
        for column, value in columns.items():
            await self.rows(f"UPDATE projects SET {column} = $1", value)

    async def allocate(
        self, *, ago_seconds: float = 10, bits_per_second: int = 0, valid_seconds: float = 600, **names: Any
    ) -> UUID:
        """A credential with one live allocation; the credential's id."""
        started_at = datetime.now(UTC) - timedelta(seconds=ago_seconds)
        issue = make_issue(
            issued_at=started_at,
            credential_id=uuid7(),
            project_id=self.project.project_id,
            node_ids=(str(NODE),),
            expires_at=started_at + timedelta(seconds=valid_seconds),
            **names,
        )
        assert await insert_credentials(self.database, [issue]) == []
        await self.report(issue.credential_id, started_at, bits_per_second, **names)
        return issue.credential_id

    async def report(self, credential_id: UUID, started_at: datetime, bits_per_second: int = 0, **names: Any) -> None:
        self._sessions += 1
        await self.rows(
            "INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, credential_id, project_id,"
            " room, initiator_client, bits_per_second, revision, matched)"
            " VALUES ($1, gen_random_uuid(), $2, 'eu-central', 'boot-1', $3, $4, $5, $6, $7, $8, 1, 'matched')",
            started_at,
            NODE,
            str(self._sessions),
            credential_id,
            self.project.project_id,
            names.get("room"),
            names.get("initiator_client"),
            bits_per_second,
        )

    async def end(self, *credential_ids: UUID) -> None:
        await self.rows("UPDATE allocations SET ended_at = now() WHERE credential_id = ANY($1::uuid[])", list(credential_ids))

    async def denied(self, reason: str) -> set[UUID]:
        rows = await self.rows("SELECT credential_id FROM denials WHERE reason = $1", reason)
        return {row["credential_id"] for row in rows}

    async def told(self, kind: str) -> int:
        return len(await self.rows("SELECT FROM outbox WHERE type = $1", kind))

    def acknowledge(self, number: int) -> None:
        self.know_the_node()
        self.keeper.view.put_record(str(NODE), make_record(report=make_report(denied_up_to=number)), received=0.0)

    def know_the_node(self) -> None:
        """Without a report of it."""
        self.keeper.view.set_directory([make_region()], [])
        self.keeper.view.set_directory([make_region()], [make_node(str(NODE))])


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    database = PatientDatabase(database_url)
    world = World(database, redis_url)
    await bootstrap(database, organization="demo", project="demo")
    (world.project,) = await all_projects(database)
    await put_region(database, make_region(), ACTOR)
    await world.rows("INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, 'eu-1', 'eu-central', 'x')", NODE)
    await world.rows(
        "INSERT INTO webhooks (id, project_id, url, events, sealed_secret)"
        " VALUES (gen_random_uuid(), $1, 'https://example.com', '{credential.revoked,quota.reached}', '')",
        world.project.project_id,
    )
    yield world
    await world.reached.close()
    await database.close()


async def test_a_project_at_its_quota_is_refused_and_told_once_a_crossing(world: World) -> None:
    watch = QuotaWatch(world.reached)
    await world.limit(max_allocations=20)
    live = [await world.allocate() for _ in range(19)]
    assert await world.quotas.enforce() == frozenset()
    live.append(await world.allocate())
    for leader in (world.quotas, world.quotas, QuotaKeeper(world.database, world.reached, world.keeper)):
        assert await leader.enforce() == {world.project.project_id}
    await watch.read_once()
    assert watch.reached == {world.project.project_id}
    assert await world.told("quota.reached") == 1
    # One less is no longer at the quota, but too near to it for the next crossing to be news.
    await world.end(live.pop())
    assert await world.quotas.enforce() == frozenset()
    await watch.read_once()
    assert watch.reached == frozenset()
    live.append(await world.allocate())
    await world.quotas.enforce()
    assert await world.told("quota.reached") == 1
    await world.end(live.pop(), live.pop())
    await world.quotas.enforce()
    for _ in range(2):
        await world.allocate()
    await world.quotas.enforce()
    assert await world.told("quota.reached") == 2
    assert await world.denied("quota") == set()


async def test_bits_per_second_count_as_well(world: World) -> None:
    await world.limit(max_bits_per_second=10_000)
    await world.allocate(bits_per_second=6_000)
    assert await world.quotas.enforce() == frozenset()
    await world.allocate(bits_per_second=4_000)
    assert await world.quotas.enforce() == {world.project.project_id}
    (row,) = await world.rows("SELECT body::json->'data' AS data FROM outbox WHERE type = 'quota.reached'")
    assert '"bits_per_second":10000,"max_bits_per_second":10000' in row["data"]
    await world.limit(max_bits_per_second=None)
    assert await world.quotas.enforce() == frozenset()
    assert await world.rows("SELECT FROM quotas_reached") == []


async def test_the_newest_allocations_above_the_quota_are_ended_and_no_more(world: World) -> None:
    await world.limit(max_allocations=3)
    by_age = [await world.allocate(ago_seconds=seconds) for seconds in (50, 40, 30, 20, 10)]
    for _ in range(3):  # the node takes a moment to end them
        await world.quotas.enforce()
        assert await world.denied("quota") == set(by_age[3:])
    assert await world.told("credential.revoked") == 2
    await world.end(*by_age[3:])
    await world.quotas.enforce()
    assert await world.denied("quota") == set(by_age[3:])


async def test_projects_without_a_quota_are_never_refused(world: World) -> None:
    for _ in range(5):
        await world.allocate(bits_per_second=10**9)
    assert await world.quotas.enforce() == frozenset()


async def test_what_a_dead_relay_left_behind_fills_no_quota(world: World) -> None:
    await world.limit(max_allocations=2)
    for _ in range(3):
        await world.allocate()
    node = make_node(str(NODE))
    world.keeper.view.set_directory([make_region()], [node])
    world.keeper.view.put_record(str(NODE), make_record(), received=time.monotonic() - 1000)
    assert await world.quotas.enforce() == frozenset()
    assert await world.denied("quota") == set()
    world.keeper.view.put_record(str(NODE), make_record(report=make_report(sequence=99)), received=time.monotonic())
    assert await world.quotas.enforce() == {world.project.project_id}
    assert len(await world.denied("quota")) == 1


async def test_the_last_reading_stands_for_a_minute_while_redis_is_away() -> None:
    async with private_redis() as server:
        watch = await _watch_of(server)
        await server.stop()
    await watch.read_once()
    assert len(watch.reached) == 1
    watch._read_at -= quotas.KEEP_SECONDS
    await watch.read_once()
    assert watch.reached == frozenset()
    await watch.close()


async def _watch_of(server: RedisServer) -> QuotaWatch:
    store = ReachedQuotas.connect(server.url)
    await store.put([uuid4()])
    watch = QuotaWatch(store)
    await watch.read_once()
    assert len(watch.reached) == 1
    return watch


async def test_an_allocation_that_is_told_late_is_ended_all_the_same(world: World) -> None:
    """The agent was cut off, and the credential expired long before the call: its record alone told nothing of a session."""
    kinds: list[tuple[RuleKind, str]] = [("room", "room"), ("client", "initiator_client")]
    for kind, field in kinds:
        names: dict[str, Any] = {field: "name"}
        at = datetime.now(UTC) - timedelta(hours=1)
        issue = make_issue(
            issued_at=at,
            credential_id=UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | uuid4().int >> 80),
            project_id=world.project.project_id,
            node_ids=(str(NODE),),
            expires_at=at + timedelta(seconds=30),
            **names,
        )
        await insert_credentials(world.database, [issue])
        await world.revoker.revoke_named(world.project, ACTOR, kind, "name")
        assert issue.credential_id not in await world.denied("revoked")
        await world.report(issue.credential_id, at, **names)
        later = await world.allocate(ago_seconds=0, **names)
        assert await world.revocations.enforce() == 1
        assert issue.credential_id in await world.denied("revoked")
        assert later not in await world.denied("revoked")
        assert await world.revocations.enforce() == 0


async def test_a_deleted_project_ends_all_that_it_issued(world: World) -> None:
    live = [await world.allocate() for _ in range(3)]
    unused = await world.allocate()
    await world.end(unused)
    async with world.database.transaction() as connection:
        await revoke_project(connection, world.project.project_id, ACTOR)
    late = make_issue(
        issued_at=datetime.now(UTC) + timedelta(seconds=5),  # by a replica that had not heard of it yet
        credential_id=uuid7(),
        project_id=world.project.project_id,
        node_ids=(str(NODE),),
        expires_at=datetime.now(UTC) + timedelta(seconds=60),
    )
    await insert_credentials(world.database, [late])
    await world.revocations.enforce()
    assert await world.denied("revoked") == {*live, unused, late.credential_id}


async def test_the_leader_finishes_what_a_replica_began(world: World) -> None:
    live = await world.allocate(room="r")
    await world.rows(
        "INSERT INTO revocations (project_id, kind, value, revoked_at, expires_at, actor_token_id)"
        " VALUES ($1, 'room', 'r', now() - interval '4 seconds', now() + interval '1 day', 'token-1')",
        world.project.project_id,
    )
    await world.revocations.enforce()
    assert await world.denied("revoked") == {live}
    assert await world.rows("SELECT FROM revocations WHERE applied_at IS NULL") == []


async def test_a_denial_stays_until_it_is_acknowledged_expired_and_ends_nothing(world: World) -> None:
    live = await world.allocate(ago_seconds=200, valid_seconds=130)
    await world.revoker.revoke_ids(world.project, ACTOR, [live])
    (row,) = await world.rows("SELECT number FROM denials")

    async def stays() -> bool:
        await world.revocations.tidy()
        return await world.denied("revoked") == {live}

    async def expires(seconds: float) -> None:
        await world.rows("UPDATE denials SET expires_at = now() + make_interval(secs => $1)", seconds)

    await expires(-70)
    world.acknowledge(row["number"])
    assert await stays()  # it ends a live allocation
    await world.end(live)
    world.acknowledge(row["number"] - 1)
    assert await stays()
    world.know_the_node()
    assert await stays()
    world.acknowledge(row["number"])
    await expires(10)
    assert await stays()
    await expires(-70)
    assert not await stays()


async def test_a_node_that_does_not_return_is_not_waited_for(world: World) -> None:
    live = await world.allocate()
    await world.revoker.revoke_ids(world.project, ACTOR, [live])
    await world.rows("UPDATE denials SET denied_at = now() - interval '29 days'")
    await world.revocations.tidy()
    assert await world.denied("revoked") == {live}
    await world.rows("UPDATE denials SET denied_at = now() - interval '31 days'")
    await world.revocations.tidy()
    assert await world.denied("revoked") == set()
