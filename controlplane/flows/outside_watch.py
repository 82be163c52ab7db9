"""A replica's part of looking at nodes from outside: it reads what the leader saw, and judges nodes by it as everybody does."""

from __future__ import annotations

import asyncio
import time

import structlog

from controlplane.fleet.view import FleetView
from controlplane.redis_store.outside import OutsideStore, OutsideUnavailableError

_READ_SECONDS = 0.5
_TIDY_SECONDS = 60.0
_RECORDS_AT_ONCE = 100

log = structlog.get_logger()


class OutsideWatch:
    """What cannot be read grows old, and then counts for nothing."""

    def __init__(self, store: OutsideStore, view: FleetView) -> None:
        self._store = store
        self._view = view
        self._cursor = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        tidied = time.monotonic()
        while True:
            await self.read_once()
            if time.monotonic() - tidied > _TIDY_SECONDS:
                tidied = time.monotonic()
                self._view.drop_old_outside(now=tidied)
            await asyncio.sleep(_READ_SECONDS)

    async def read_once(self) -> None:
        before = time.monotonic()
        try:
            changes = await self._store.changed_since(self._cursor)
        except OutsideUnavailableError as error:
            log.debug("outside_not_read", reason=str(error))
            return
        for number, (node_id, outside, age_seconds) in enumerate(changes.nodes):
            self._view.put_outside(node_id, outside, received=before - age_seconds)
            if number % _RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)  # a first reading of 10,000 takes a tenth of a second: others get their turn
        if changes.place is not None:
            self._view.prober = (changes.place[0], before - changes.place[1])
        self._cursor = changes.cursor

    async def close(self) -> None:
        await self._store.close()
