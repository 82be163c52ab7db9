"""How jobs are run while this process leads: one that raises, one that is late, one that is slow, and the end of a term."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from prometheus_client import generate_latest
from structlog.testing import capture_logs

from controlplane.jobs.leader import Job, JobRunner
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.leadership import Leadership
from controlplane.telemetry.metrics import Metrics
from tests.running_api import until

OFTEN = 0.1


class Runs:
    """A job that notes when it ran, and does what it is told to."""

    def __init__(self, does: Callable[[], Awaitable[None]] | None = None) -> None:
        self.at: list[float] = []
        self._does = does

    async def __call__(self) -> None:
        self.at.append(time.monotonic())
        if self._does is not None:
            await self._does()

    async def three_times(self) -> bool:
        return len(self.at) >= 3


@asynccontextmanager
async def leading(database_url: str, **jobs: Runs) -> AsyncIterator[Metrics]:
    metrics = Metrics()
    table = [Job(name=name, every_seconds=OFTEN, run=run) for name, run in jobs.items()]
    runner = asyncio.create_task(JobRunner(Leadership(database_url), lambda _: table, metrics).run())
    try:
        yield metrics
    finally:
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner


def counted(metrics: Metrics, job: str, outcome: str) -> float:
    name = f'turnfleet_job_runs_total{{job_name="{job}",outcome="{outcome}"}}'
    lines = generate_latest(metrics.registry).decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def test_a_job_that_raises_is_counted_and_logged_and_run_again_and_the_others_run_on(database_url: str) -> None:
    async def raise_something() -> None:
        raise ValueError("a fault of ours")

    bad, good = Runs(raise_something), Runs()
    with capture_logs() as logs:
        async with leading(database_url, bad=bad, good=good) as metrics:
            await until(bad.three_times, what="it is run again")
            await until(good.three_times, what="the other one runs on")
    assert counted(metrics, "bad", "failed") >= 3
    assert counted(metrics, "bad", "done") == 0
    assert counted(metrics, "good", "done") >= 3
    assert [line["job"] for line in logs if line["event"] == "job_failed"][:3] == ["bad"] * 3


async def test_a_job_whose_database_is_away_is_put_off(database_url: str) -> None:
    nowhere = Database("postgresql://turnfleet@127.0.0.1:1/turnfleet", connections=1)

    async def ask() -> None:
        async with nowhere.connection():
            raise AssertionError("nobody listens there")

    asks = Runs(ask)
    with capture_logs() as logs:
        async with leading(database_url, asks=asks) as metrics:
            await until(asks.three_times, what="it is tried again")
    assert counted(metrics, "asks", "unavailable") >= 2
    assert {line["event"] for line in logs if "job" in line} == {"job_postponed"}


async def test_a_late_job_is_run_once(database_url: str) -> None:
    job = Runs()
    async with leading(database_url, job=job):
        await until(job.three_times, what="it runs")
        before = len(job.at)
        time.sleep(15 * OFTEN)  # noqa: ASYNC251 - the whole process stands still, and fourteen runs are missed
        woke = time.monotonic()

        async def ran_again() -> bool:
            return len(job.at) >= before + 3

        await until(ran_again, what="it runs again")
    # Fourteen runs were missed: made up for one by one they would all be here.
    assert len([at for at in job.at[before:] if at < woke + OFTEN]) in {1, 2}


async def test_a_slow_job_never_runs_beside_itself(database_url: str) -> None:
    running = most = 0

    async def take_time() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(3 * OFTEN)
        running -= 1

    slow, quick = Runs(take_time), Runs()
    async with leading(database_url, slow=slow, quick=quick):
        await until(slow.three_times, what="it is run again and again")
        assert len(quick.at) > len(slow.at)
    assert most == 1
