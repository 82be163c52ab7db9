"""The jobs: one leader among several processes, and what it tells about the fleet."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import asyncpg

from tests.running_api import SimulatedNode, running_api, until
from tests.running_jobs import jobs_process


async def healths(url: str, name: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT became FROM fleet_events JOIN nodes ON nodes.id = node_id WHERE name = $1 ORDER BY fleet_events.id", name
        )
    finally:
        await connection.close()
    return [row["became"] for row in rows]


async def test_every_change_of_health_is_told_once_whoever_leads(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api) as one:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await until(one.leads, within_seconds=10)
        async with jobs_process(api) as two:
            await node.bring_up()
            node.keep_beating()

            async def told_up() -> bool:
                return (await healths(database_url, "eu-1"))[-1:] == ["up"]

            await until(told_up, within_seconds=8)
            assert not await two.leads()
            one.process.kill()
            assert await until(two.leads, within_seconds=8) < 5
            await node.stop_beating()
            node.changes = {"coturn": {"state": "dead"}}
            await node.beat()

            async def told_down() -> bool:
                return (await healths(database_url, "eu-1"))[-1:] == ["down"]

            await until(told_down, within_seconds=8)
            history = await healths(database_url, "eu-1")
            assert history.count("up") == 1
            assert history.count("down") == 1
        assert two.process.returncode == 0


async def test_a_frozen_leader_is_followed_and_does_not_lead_on(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api) as one:
        await until(one.leads, within_seconds=10)
        async with jobs_process(api) as two:
            one.process.send_signal(signal.SIGSTOP)
            assert await until(two.leads, within_seconds=15) < 12
            one.process.send_signal(signal.SIGCONT)

            async def one_gave_up() -> bool:
                return not await one.leads()

            await until(one_gave_up, within_seconds=5)
            assert await two.leads()


async def test_jobs_wait_for_a_database_that_is_not_there_yet(redis_url: str, folder: Path, database_url: str) -> None:
    async with running_api(database_url, redis_url, folder) as api:
        api.environment["TURNFLEET_DATABASE_URL"] = "postgresql://turnfleet@127.0.0.1:1/turnfleet"
        async with jobs_process(api) as waiting:
            await asyncio.sleep(2)
            assert waiting.process.returncode is None
            assert not await waiting.leads()
