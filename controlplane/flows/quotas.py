"""Quotas of projects: the leader measures them and ends what is above, every replica refuses credentials at them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID

import structlog

from controlplane.fleet.model import Health
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.quotas import QuotaUse, end_newest, forget_reached, quota_uses, tell_reached
from controlplane.redis_store.quotas import QuotasUnavailableError, ReachedQuotas

PERIOD_SECONDS = 1.0
KEEP_SECONDS = 60.0
"""For so long the last reading stands while Redis is away; then nobody is refused."""
_WELL_BELOW_RATIO = 0.95
"""Below this share of every quota the next crossing is news again."""

log = structlog.get_logger()


class QuotaWatch:
    """One per replica: `reached` holds the projects that get no new credentials now. Run `run()` as a task."""

    def __init__(self, store: ReachedQuotas) -> None:
        self.reached: frozenset[UUID] = frozenset()
        self._store = store
        self._read_at = 0.0
        self._failing = False

    async def read_once(self) -> None:
        asked = time.monotonic()
        try:
            self.reached = await self._store.get()
        except QuotasUnavailableError as error:
            if not self._failing:
                log.warning("quotas_unknown", reason=str(error))
            self._failing = True
            if asked - self._read_at > KEEP_SECONDS:
                self.reached = frozenset()
            return
        self._read_at, self._failing = asked, False

    async def run(self) -> None:
        while True:
            await self.read_once()
            await asyncio.sleep(PERIOD_SECONDS)

    async def close(self) -> None:
        await self._store.close()


class QuotaKeeper:
    """The leader's part. Level-triggered: it remembers nothing between its runs."""

    def __init__(self, database: Database, store: ReachedQuotas, keeper: FleetKeeper) -> None:
        self._database = database
        self._store = store
        self._keeper = keeper

    async def enforce(self) -> frozenset[UUID]:
        """Measure, publish, tell and end; the projects that are at a quota. Raises DatabaseUnavailableError."""
        states = self._keeper.view.states(now=time.monotonic())
        down = [UUID(state.node.node_id) for state in states if state.verdict.health is Health.DOWN]
        uses = await quota_uses(self._database, down_nodes=down)
        reached = frozenset(use.project_id for use in uses if _fullest(use) >= 1)
        try:
            await self._store.put(reached)
        except QuotasUnavailableError as error:
            log.warning("quotas_not_published", reason=str(error))
        for use in uses:
            if use.project_id in reached and not use.was_reached:
                await tell_reached(self._database, use, happened_at=datetime.now(UTC))
                log.info("quota_reached", project_id=str(use.project_id))
            excess = 0 if use.max_allocations is None else use.undenied - use.max_allocations
            if excess > 0:
                ended = await end_newest(self._database, use.project_id, excess=excess, down_nodes=down)
                log.info("quota_enforced", project_id=str(use.project_id), excess=excess, credentials=ended)
        below = [use.project_id for use in uses if use.was_reached and _fullest(use) < _WELL_BELOW_RATIO]
        if below:
            await forget_reached(self._database, below)
        return reached


def _fullest(use: QuotaUse) -> float:
    """Use of the quota that is nearest to its limit; 0 without any."""
    return max(
        0.0 if use.max_allocations is None else use.allocations / use.max_allocations,
        0.0 if use.max_bits_per_second is None else use.bits_per_second / use.max_bits_per_second,
    )
