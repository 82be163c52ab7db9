"""Runs the jobs while this process leads, and nothing while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.leadership import Leadership
from controlplane.telemetry.metrics import Metrics

_RENEW_SECONDS = 0.5
_CANDIDATE_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the table of jobs. Level-triggered: each run brings the world to the wanted state."""

    name: str
    every_seconds: float
    run: Callable[[], Awaitable[object]]
    end: Callable[[], Awaitable[None]] | None = None
    """Called with the term's end: for what the job started and did not wait for."""


class JobRunner:
    """Candidate for ever: leads when it can, resigns when its session is lost. One scheduler per term, in memory."""

    def __init__(self, leadership: Leadership, make_jobs: Callable[[int], Sequence[Job]], metrics: Metrics) -> None:
        self._leadership = leadership
        self._make_jobs = make_jobs
        self._metrics = metrics

    async def run(self) -> None:
        try:
            while True:
                if await self._try_lead():
                    await self._lead()
                await asyncio.sleep(_CANDIDATE_SECONDS)
        finally:
            await self._leadership.resign()

    async def _try_lead(self) -> bool:
        try:
            return await self._leadership.try_lead()
        except DatabaseUnavailableError:
            return False

    async def _lead(self) -> None:
        epoch = self._leadership.epoch or 0
        # A late job runs once instead of being dropped (the library's default grace is one second).
        scheduler = AsyncIOScheduler(job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1})
        jobs = self._make_jobs(epoch)
        for job in jobs:
            scheduler.add_job(
                self._guarded(job), IntervalTrigger(seconds=job.every_seconds), id=job.name, next_run_time=datetime.now(UTC)
            )
        scheduler.start()
        self._metrics.leading.set(1)
        log.info("jobs_leading", epoch=epoch)
        try:
            while await self._leadership.renew():  # noqa: ASYNC110 - PostgreSQL is asked anew each time; there is no event
                await asyncio.sleep(_RENEW_SECONDS)
        finally:
            scheduler.shutdown(wait=False)
            self._metrics.leading.set(0)
            for job in jobs:
                if job.end is not None:
                    await job.end()
            log.info("jobs_not_leading", epoch=epoch)

    def _guarded(self, job: Job) -> Callable[[], Awaitable[None]]:
        async def guarded() -> None:
            try:
                await job.run()
            except DatabaseUnavailableError as error:
                self._metrics.job_runs.labels(job.name, "unavailable").inc()
                log.warning("job_postponed", job=job.name, reason=str(error))
            except Exception:
                self._metrics.job_runs.labels(job.name, "failed").inc()
                log.exception("job_failed", job=job.name)
            else:
                self._metrics.job_runs.labels(job.name, "done").inc()

        return guarded
