"""What the leader keeps of the fleet over time, on a real PostgreSQL: once whoever leads, summed up, and dropped in the end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from controlplane.fleet.history import Minute
from controlplane.fleet.model import Node
from controlplane.fleet.view import FleetView
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.keep_history import HistoryKeeper
from controlplane.flows.retention import Retention
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.history import NodePoint, insert_minute, node_history, region_history, summed_up_to
from controlplane.postgres_store.retention import retention_database
from tests.bench._big_fleet import make_nodes, make_regions, make_view
from tests.databases import PatientDatabase
from tests.jobs.test_retention import KEPT
from tests.running_api import SimulatedNode, running_api, until
from tests.running_jobs import jobs_process

TEN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
MINUTE = timedelta(minutes=1)


class Seen:
    """What a keeper of a fleet has in memory, and the clock."""

    def __init__(self, view: FleetView) -> None:
        self.view = view
        self.seeing = True
        self.now = TEN

    def database_now(self) -> datetime:
        return self.now


class World:
    def __init__(self, url: str, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.url, self.connection = url, connection
        self.database: Database = PatientDatabase(url)
        self.regions = make_regions(2)
        self.nodes: list[Node] = make_nodes(self.regions, 2)
        self.seen = Seen(make_view(self.regions, self.nodes))

    def keeper(self, epoch: int = 1) -> HistoryKeeper:
        return HistoryKeeper(self.database, cast("FleetKeeper", self.seen), cast("Directory", self.seen), epoch=epoch)

    async def points(self, node: int = 0, *, step: timedelta = MINUTE, **changes: Any) -> list[NodePoint]:
        span = {"from_at": TEN - timedelta(days=1), "to_at": TEN + timedelta(days=1), **changes}
        return await node_history(
            self.database, UUID(self.nodes[node].node_id), step=step, coarse=step >= timedelta(minutes=10), **span
        )

    async def run(self, keeper: HistoryKeeper, minutes: float) -> None:
        """Ticks of ten seconds."""
        for _ in range(round(minutes * 6)):
            await keeper.tick()
            self.seen.now += timedelta(seconds=10)


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE leader SET epoch = 1")
    await connection.execute("UPDATE history_summed_up SET up_to_at = $1", TEN)
    world = World(database_url, connection)
    yield world
    await world.database.close()
    await connection.close()


async def test_each_minute_is_one_point_of_every_node_and_region(world: World) -> None:
    await world.run(world.keeper(), 3.5)
    for number in range(4):
        points = await world.points(number)
        assert [each.at for each in points] == [TEN, TEN + MINUTE, TEN + 2 * MINUTE]
        assert {(each.health, each.health_reason, each.intent, each.eligible_ratio) for each in points} == {
            ("up", "reporting", "active", 1.0)
        }
        load = world.seen.view.record(world.nodes[number].node_id)
        assert load is not None
        assert points[0].receive_bits_per_second == pytest.approx(load.report.load.receive_bits_per_second)
        assert points[0].max_allocations == load.report.load.allocations
    region = await region_history(world.database, "region-000", from_at=TEN, to_at=TEN + timedelta(hours=1), step=MINUTE)
    assert [(each.nodes, each.up_nodes, each.eligible_nodes, each.operational_ratio) for each in region] == [(2, 2, 2, 1)] * 3


async def test_what_is_not_seen_is_a_gap(world: World) -> None:
    keeper = world.keeper()
    await world.run(keeper, 1)
    world.seen.seeing = False
    await world.run(keeper, 2)
    world.seen.seeing = True
    await world.run(keeper, 1.5)
    assert [each.at for each in await world.points()] == [TEN, TEN + 3 * MINUTE]


async def test_two_leaders_write_one_row_and_an_old_one_none(world: World) -> None:
    old, new = world.keeper(epoch=1), world.keeper(epoch=2)
    await world.run(old, 0.5)
    await world.connection.execute("UPDATE leader SET epoch = 2")
    world.seen.now = TEN + MINUTE
    await old.tick()
    assert await world.points() == []
    world.seen.now = TEN + MINUTE / 2
    await world.run(new, 1)
    assert [each.at for each in await world.points()] == [TEN]
    count = "SELECT count(*), min(ticks) FROM node_minutes"
    assert tuple(await world.connection.fetchrow(count) or ()) == (4, 3)
    world.seen.now = TEN
    other = world.keeper(epoch=2)
    await world.run(other, 1.5)
    assert tuple(await world.connection.fetchrow(count) or ()) == (4, 3)
    assert await world.connection.fetchval("SELECT count(*) FROM region_minutes") == 2


async def test_ten_minutes_are_summed_up_once_they_are_over(world: World) -> None:
    keeper = world.keeper()
    await world.run(keeper, 4)
    world.seen.view.put_record(  # down for two minutes: its lease is over
        world.nodes[0].node_id, world.seen.view.records()[world.nodes[0].node_id], received=time.monotonic() - 60
    )
    world.seen.view.columns.received_at[world.seen.view.columns.place_of[world.nodes[0].node_id]] = time.monotonic() - 60
    await world.run(keeper, 2)
    world.seen.view.columns.received_at[world.seen.view.columns.place_of[world.nodes[0].node_id]] = time.monotonic()
    await world.run(keeper, 7)
    assert await summed_up_to(world.database) == TEN + timedelta(minutes=10)
    stored = await world.connection.fetch("SELECT * FROM node_ten_minutes WHERE node_id = $1", UUID(world.nodes[0].node_id))
    assert [(each["at"], each["ticks"], each["reports"]) for each in stored] == [(TEN, 60, 48)]
    coarse = await world.points(step=timedelta(minutes=10))
    # The second one is of the minutes that are not summed up yet.
    assert [each.at for each in coarse] == [TEN, TEN + timedelta(minutes=10)]
    assert (coarse[0].health, coarse[0].health_reason) == ("down", "lease_expired")
    assert coarse[0].eligible_ratio == pytest.approx(0.8)
    fine = await world.points()
    assert coarse[0].receive_bits_per_second == pytest.approx(fine[0].receive_bits_per_second)
    assert [each.receive_bits_per_second for each in fine[4:6]] == [None, None]
    await world.connection.execute("DELETE FROM node_minutes")
    assert (await world.points(step=timedelta(minutes=10)))[0] == coarse[0]
    assert len(await world.points(step=timedelta(hours=1))) == 1


async def test_after_days_without_a_leader_the_sums_go_on_with_what_is_left(world: World) -> None:
    await world.connection.execute("UPDATE history_summed_up SET up_to_at = $1", TEN - timedelta(days=9))
    keeper = world.keeper()
    await world.run(keeper, 1.5)
    assert TEN - timedelta(days=2) <= await summed_up_to(world.database) <= TEN - timedelta(days=2) + timedelta(hours=2)


async def test_numbers_at_the_ends_of_what_a_node_may_say_are_kept(world: World) -> None:
    view = world.seen.view
    minute = Minute()
    minute.add_region("region-000", view.states(now=time.monotonic())[:1], operational=True, fresh_seconds=1e9)
    of_node = minute.nodes[world.nodes[0].node_id]
    of_node._sums[0], of_node._sums[1] = 1e15, 1e-300  # as the wire allows them
    of_node.max_allocations = 2**53
    assert await insert_minute(world.database, TEN, minute.nodes, minute.regions, epoch=1)
    [point] = await world.points()
    assert point.receive_bits_per_second == pytest.approx(1e15)
    assert point.transmit_bits_per_second == 0


async def test_old_days_of_history_are_dropped(world: World) -> None:
    for table, ages in (("node_minutes", (1, 3)), ("node_ten_minutes", (3, 29, 31)), ("region_minutes", (3, 31))):
        for age in ages:
            day = TEN.date() - timedelta(days=age)
            await world.connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table}_{day:%Y%m%d} PARTITION OF {table} "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
            )
    database = retention_database(world.url)
    await Retention(database, KEPT).run()
    await database.close()
    names = {
        row["name"]
        for row in await world.connection.fetch(
            "SELECT relname AS name FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r'"
        )
        if row["name"][-8:] < f"{TEN:%Y%m%d}"
    }
    assert {(name[:-9], (TEN.date() - datetime.strptime(name[-8:], "%Y%m%d").date()).days) for name in names} == {  # noqa: DTZ007
        ("node_minutes", 1),
        ("node_ten_minutes", 3),
        ("node_ten_minutes", 29),
        ("region_minutes", 3),
    }


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_the_running_jobs_keep_minutes_whoever_leads(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api) as one, jobs_process(api) as two:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        node.keep_beating()

        async def points(path: str) -> list[dict[str, Any]]:
            answer = await api.client.get(
                f"/api/v1/fleet/{path}/history?from={TEN.isoformat()[:-6]}Z", headers=api.bearer("operator")
            )
            assert answer.status_code == 200, answer.text
            return list(answer.json()["points"])

        async def some() -> bool:
            return len(await points("nodes/eu-1")) >= 1 and len(await points("regions/eu-central")) >= 1

        await until(some, within_seconds=90, what="the first minute is kept")
        leader = one if await one.leads() else two
        leader.process.kill()
        known = len(await points("nodes/eu-1"))

        async def more() -> bool:
            return len(await points("nodes/eu-1")) >= known + 2

        await until(more, within_seconds=170, what="the next leader keeps on")
        found = await points("nodes/eu-1")
        assert {(each["health"], each["intent"]) for each in found[1:]} == {("up", "active")}
        assert len({each["at"] for each in found}) == len(found)
        await node.stop_beating()
