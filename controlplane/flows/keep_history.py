"""The leader looks at the fleet every ten seconds, and keeps each minute of every node and region for charts.

Minutes are kept for two days, ten minutes of nodes and minutes of regions for the setting's time. A minute that was not written,
because PostgreSQL was away or nobody led, is a gap. The leader's own part of a minute is written; what another wrote stays.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

from controlplane.fleet.history import Minute
from controlplane.fleet.node_state import nodes_by_region
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.history import MINUTES_KEPT, TEN_MINUTES, insert_minute, sum_up_ten_minutes, summed_up_to

TICK_SECONDS = 10.0
_SUMS_AT_ONCE = 6
"""In one run, after an outage: the rest in the next ones."""


class HistoryKeeper:
    """One per leader's term."""

    def __init__(self, database: Database, keeper: FleetKeeper, directory: Directory, *, epoch: int) -> None:
        self._database = database
        self._keeper = keeper
        self._directory = directory
        self._epoch = epoch
        self._minute_at: datetime | None = None
        self._minute = Minute()

    async def tick(self) -> None:
        """Look once more; at a minute's end write it. Raises DatabaseUnavailableError: then that minute is a gap."""
        now = self._directory.database_now().replace(second=0, microsecond=0)
        if self._minute_at is not None and self._minute_at != now:
            ended_at, ended = self._minute_at, self._minute
            self._minute_at, self._minute = None, Minute()
            if ended.regions:
                await insert_minute(self._database, ended_at, ended.nodes, ended.regions, epoch=self._epoch)
            await self._sum_up(now)
        self._minute_at = now
        await self._look()

    async def _look(self) -> None:
        if not self._keeper.seeing:
            return  # what we do not see is no news about the fleet
        view = self._keeper.view
        grouped = nodes_by_region(view.states(now=time.monotonic()))
        fresh_seconds = view.policy.lease_seconds(view.interval_seconds)
        for slug in list(view.regions):
            table = view.table.regions.get(slug)
            self._minute.add_region(
                slug,
                grouped.get(slug, []),
                operational=table is not None and bool(table.contenders),
                fresh_seconds=fresh_seconds,
            )
            await asyncio.sleep(0)  # of 10,000 nodes this is a quarter of a second: other jobs get their turn in between

    async def _sum_up(self, now: datetime) -> None:
        from_at = await summed_up_to(self._database)
        oldest = now - MINUTES_KEPT
        if from_at < oldest:  # nobody led for days: what was not summed up is about to go
            from_at = oldest - timedelta(minutes=oldest.minute % 10)
        for _ in range(_SUMS_AT_ONCE):
            if from_at + TEN_MINUTES > now:
                return
            await sum_up_ten_minutes(self._database, from_at, epoch=self._epoch)
            from_at += TEN_MINUTES
