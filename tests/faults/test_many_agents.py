"""A big fleet against one API process: it comes up within a minute whatever was away, and callers hardly notice."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from controlplane.postgres_store.migrate import migrate
from controlplane.redis_store import keys
from deploy.local.postgres import private_postgres
from deploy.local.redis_server import RedisServer, private_redis
from tests.issue_load import Answers, open_loop, while_loaded
from tests.running_api import RunningApi, running_api, until

UP_SECONDS = 60.0
_FEW, _TIMES = 10, 3
SLOWER = 3.0
"""Issuing p99 over its idle value, while a thousand agents come back."""


@asynccontextmanager
async def many_agents(api: RunningApi, prefix: str, count: int) -> AsyncIterator[None]:
    """They run in a process of their own."""
    few = asyncio.Semaphore(16)

    async def make_token() -> str:
        async with few:
            return await api.join_token("eu-central")

    tokens = await asyncio.gather(*(make_token() for _ in range(count)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.many_agents", api.url, prefix, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(tokens).encode())
        process.stdin.close()
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"joined\n"
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 10)


class Fleet:
    def __init__(self, api: RunningApi, redis: RedisServer, count: int, *, load_seconds: float) -> None:
        self.api, self.redis, self.count, self.load_seconds = api, redis, count, load_seconds
        self.seconds: list[float] = []

    async def all_up(self) -> bool:
        await asyncio.sleep(0.2)  # asked more often, it would be what slows the others
        answer = await self.api.client.get("/api/v1/fleet/overview", headers=self.api.bearer("operator"))
        if answer.status_code != 200:
            return False
        told = answer.json()
        if told["totals"]["eligible_nodes"] != self.count or told["degraded"]["view_held"]:
            return False
        async with Redis.from_url(self.redis.url) as client:  # whoever starts now finds them there, too
            return int(await client.zcard(keys.SEEN)) >= self.count

    async def issues(self) -> bool:
        return (await self.api.issue()).status_code == 200

    async def comes_up(self, what: str, *, since: float | None = None) -> None:
        began = time.monotonic() if since is None else since
        await until(self.all_up, within_seconds=UP_SECONDS, what=f"{self.count} nodes up after {what}")
        self.seconds.append(time.monotonic() - began)
        assert self.seconds[-1] <= UP_SECONDS
        print(f"{what}: {self.count} nodes up after {self.seconds[-1]:.1f} s")

    async def restart_redis(self) -> None:
        await asyncio.sleep(2)  # of load, first
        await self.redis.kill()
        await self.redis.start()  # empty
        await self.comes_up("a restart of Redis")

    async def begin_anew(self) -> float:
        """As a first start: nothing in Redis, no view on disk. When the API was started."""
        await self.api.kill()
        await self.redis.kill()
        shutil.rmtree(self.api.environment["TURNFLEET_STATE_DIR"])
        await self.redis.start()
        began = time.monotonic()
        await self.api.start()
        return began

    async def cold_start(self) -> Answers:
        began = await self.begin_anew()
        await until(self.issues, within_seconds=UP_SECONDS, what="the first credential")
        return await while_loaded(self.load(), partial(self.comes_up, "a cold start", since=began))

    async def redis_restarted(self) -> Answers:
        return await while_loaded(self.load(), self.restart_redis)

    async def load(self) -> Answers:
        return await open_loop(self.api.url, self.api.tokens["project_token"], per_second=50, seconds=self.load_seconds)


async def come_up_and_back(count: int, *, load_seconds: float) -> tuple[Fleet, dict[str, list[Answers]]]:
    """A fleet's first start, the API's cold start (nothing in Redis, no view on disk), a restart of Redis; under load, repeated."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-many-") as folder:
        async with private_postgres() as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with running_api(postgres.url, redis.url, Path(folder)) as api:
                await api.put_region("eu-central")
                async with many_agents(api, "early", _FEW):
                    few = Fleet(api, redis, _FEW, load_seconds=load_seconds)
                    await few.comes_up("the first nodes")
                    answers = {"idle": [await few.load() for _ in range(_TIMES)]}
                async with many_agents(api, "node", count):
                    fleet = Fleet(api, redis, count, load_seconds=load_seconds)
                    await fleet.comes_up("the first start")
                    answers["steady"] = [await fleet.load() for _ in range(_TIMES)]
                    answers["cold start"] = [await fleet.cold_start() for _ in range(_TIMES)]
                    answers["Redis restarted"] = [await fleet.redis_restarted() for _ in range(_TIMES)]
    return fleet, answers


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_a_thousand_agents_come_back_within_a_minute_and_callers_hardly_notice() -> None:
    fleet, answers = await come_up_and_back(1_000, load_seconds=20)
    assert len(fleet.seconds) == 1 + 2 * _TIMES
    assert [failure for runs in answers.values() for run in runs for failure in run.failures] == []
    p99_seconds = {what: sorted(run.percentile(0.99) for run in runs) for what, runs in answers.items()}
    for what, seconds in p99_seconds.items():
        print(f"{what}: p99 " + ", ".join(f"{each * 1e3:.2f}" for each in seconds) + " ms")
    # What else the machine does makes a run slower and none quicker: the best of each says what the code costs.
    for what, seconds in p99_seconds.items():
        assert seconds[0] <= SLOWER * p99_seconds["idle"][0], what
