"""Leaders that die and freeze, again and again: somebody leads soon after, and each change of the fleet is told exactly once."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.jobs.test_jobs import healths
from tests.running_api import RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import JobsProcess, jobs_process

KILLS, FREEZES = 50, 20
KILLED_SECONDS, FROZEN_SECONDS = 5.0, 12.0
_DEAD = {"coturn": {"state": "dead"}}


class Fleet:
    """A node that is up and down by turns, and what was told about it."""

    def __init__(self, api: RunningApi, node: SimulatedNode, database_url: str) -> None:
        self.api, self.node, self._database_url = api, node, database_url
        self.expected: list[str] = []

    def turn(self) -> None:
        """With its next heartbeat, within a second."""
        dead = bool(self.node.changes)
        self.node.changes = {} if dead else _DEAD
        self.expected.append("up" if dead else "down")

    async def told(self) -> list[str]:
        """On the way up it is `unknown` for a report: that is told or not, as the leader came to look."""
        return [became for became in await healths(self._database_url, self.node.name) if became != "unknown"]

    async def all_told(self) -> bool:
        return await self.told() == self.expected


@asynccontextmanager
async def fleet_of_one(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Fleet]:
    async with running_api(database_url, redis_url, folder) as api:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        node.keep_beating()
        fleet = Fleet(api, node, database_url)
        fleet.expected.append("up")
        try:
            yield fleet
        finally:
            await node.stop_beating()


async def one_of_them_leads(*candidates: JobsProcess) -> JobsProcess:
    leading: list[JobsProcess] = []

    async def somebody() -> bool:
        leading.extend([each for each in candidates if await each.leads()])
        return bool(leading)

    await until(somebody, within_seconds=20, what="one of the candidates leads")
    return leading[0]


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_a_leader_that_is_killed_is_followed_within_five_seconds(database_url: str, redis_url: str, folder: Path) -> None:
    draw = random.Random(1)
    gaps: list[float] = []
    async with fleet_of_one(database_url, redis_url, folder) as fleet, AsyncExitStack() as stack:
        leader = await stack.enter_async_context(jobs_process(fleet.api))
        await until(leader.leads, within_seconds=20)
        for _ in range(KILLS):
            follower = await stack.enter_async_context(jobs_process(fleet.api))
            await until(follower.answers, within_seconds=20, what="the next candidate runs")
            fleet.turn()
            await asyncio.sleep(draw.uniform(0.0, 2.5))  # so that the death falls before, in, or after the telling
            leader.process.kill()
            died = time.monotonic()
            await until(follower.leads, within_seconds=20)
            gaps.append(time.monotonic() - died)
            await until(fleet.all_told, within_seconds=15, what=f"told {fleet.expected[-3:]}, got {(await fleet.told())[-3:]}")
            leader = follower
        assert await fleet.told() == fleet.expected
    print(f"{KILLS} kills: followed after at most {max(gaps):.2f} s, in the mean {sum(gaps) / KILLS:.2f} s")
    assert max(gaps) <= KILLED_SECONDS


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_a_leader_that_freezes_is_followed_within_twelve_seconds(database_url: str, redis_url: str, folder: Path) -> None:
    draw = random.Random(2)
    gaps: list[float] = []
    async with (
        fleet_of_one(database_url, redis_url, folder) as fleet,
        jobs_process(fleet.api) as one,
        jobs_process(fleet.api) as two,
    ):
        for _ in range(FREEZES):
            leader = await one_of_them_leads(one, two)
            follower = two if leader is one else one
            fleet.turn()
            await asyncio.sleep(draw.uniform(0.0, 2.5))
            leader.process.send_signal(signal.SIGSTOP)
            froze = time.monotonic()
            await until(follower.leads, within_seconds=30)
            gaps.append(time.monotonic() - froze)
            await until(fleet.all_told, within_seconds=15, what=f"told {fleet.expected[-3:]}, got {(await fleet.told())[-3:]}")
            fleet.turn()
            leader.process.send_signal(signal.SIGCONT)  # and finds, in the middle of what it did, that it leads no more

            async def gave_up(frozen: JobsProcess = leader) -> bool:
                return not await frozen.leads()

            await until(gave_up, within_seconds=10)
            assert await follower.leads()
            await until(fleet.all_told, within_seconds=20, what=f"told {fleet.expected[-3:]}, got {(await fleet.told())[-3:]}")
    print(f"{FREEZES} freezes: followed after at most {max(gaps):.2f} s, in the mean {sum(gaps) / FREEZES:.2f} s")
    assert max(gaps) <= FROZEN_SECONDS
