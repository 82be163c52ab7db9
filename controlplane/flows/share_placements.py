"""Tells the other replicas what this one placed, and this one what they did, four times a second.

While that fails, what this replica placed stands for all of them: each gets about the same share of the requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count

import structlog
from uuid_utils import uuid7

from controlplane.fleet.view import FleetView
from controlplane.redis_store.placements import Batch, PlacementStream, PlacementsUnavailableError

PERIOD_SECONDS = 0.25
_ALONE_AFTER_SECONDS = 1.0
"""One lost exchange is made good by the next."""
_MOST = 2000
"""Rows of a batch: what it takes to make one is a few milliseconds of the event loop."""
_REPLICAS_REMEMBERED = 1000

log = structlog.get_logger()


class PlacementSharer:
    """`replicas` says how many there are, as far as is known."""

    def __init__(self, stream: PlacementStream, view: FleetView, replicas: Callable[[], int]) -> None:
        self._stream = stream
        self._view = view
        self._replicas = replicas
        self._identity = str(uuid7())
        self._numbers = count(1)
        self._batch: Batch | None = None
        self._cursor = ""
        self._told: dict[str, int] = {}
        """The newest batch of each replica that was taken in."""
        self._exchanged_at = time.monotonic()
        self.alone = False

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.exchange()
            await asyncio.sleep(PERIOD_SECONDS)

    async def close(self) -> None:
        await self._stream.close()

    async def exchange(self) -> None:
        """What was lost is told again under the same number, so that nobody counts it twice."""
        view = self._view
        batch = self._batch
        if batch is None or not batch.placed:
            batch = Batch(replica=self._identity, number=next(self._numbers), placed=view.unshared(_MOST))
        try:
            told = await self._stream.exchange(batch, cursor=self._cursor)
        except PlacementsUnavailableError as error:
            self._batch = batch
            self._stand_for_all(str(error))
            return
        self._batch, self._cursor, self._exchanged_at = None, told.cursor, time.monotonic()
        view.shared(batch.placed)
        for each in told.batches:
            if each.number > self._told.get(each.replica, 0):
                self._told.pop(each.replica, None)
                self._told[each.replica] = each.number
                view.told(each.placed)
        while len(self._told) > _REPLICAS_REMEMBERED:
            del self._told[next(iter(self._told))]
        if self.alone:
            log.info("placements_shared_again")
        self.alone, view.own_factor = False, 1.0

    def _stand_for_all(self, reason: str) -> None:
        if time.monotonic() - self._exchanged_at < _ALONE_AFTER_SECONDS:
            return
        if not self.alone:
            log.warning("placements_not_shared", reason=reason, counted_for=self._replicas())
        self.alone, self._view.own_factor = True, float(max(1, self._replicas()))
