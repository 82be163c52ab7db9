"""What a credential is expected to bring: the leader learns it from records and usage, every replica reads what it found."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from controlplane.fleet.conversion import OLD_ENOUGH_SECONDS, Conversion
from controlplane.fleet.view import FleetView
from controlplane.postgres_store.conversion import conversion_counts, relaying_rates
from controlplane.postgres_store.database import Database
from controlplane.redis_store.conversion import ConversionStore, ConversionUnavailableError

LEARN_SECONDS = 15.0
_READ_SECONDS = 5.0
_LOOK_BACK = timedelta(minutes=1)
"""What was issued earlier is not looked at: after an outage the agents have yet to tell what became of it."""

log = structlog.get_logger()


class ConversionLearner:
    """The leader's part. What was learned is in Redis, so that another leader goes on with it."""

    def __init__(self, database: Database, store: ConversionStore) -> None:
        self._database = database
        self._store = store

    async def learn(self) -> None:
        """Raises DatabaseUnavailableError."""
        try:
            known = await self._store.get() or Conversion()
        except ConversionUnavailableError as error:
            log.warning("conversion_unknown", reason=str(error))
            return
        until = datetime.now(UTC) - timedelta(seconds=OLD_ENOUGH_SECONDS)
        if known.at > until.timestamp() + OLD_ENOUGH_SECONDS:
            known = Conversion()  # of a leader whose clock ran ahead: it would be believed until then
        since = until - _LOOK_BACK
        if known.at > since.timestamp():
            since = datetime.fromtimestamp(known.at, UTC)
        if since >= until:
            return
        found = await conversion_counts(self._database, since=since, until=until)
        known.learn(found, await relaying_rates(self._database), at=until.timestamp())
        try:
            await self._store.put(known)
        except ConversionUnavailableError as error:
            log.warning("conversion_not_published", reason=str(error))


class ConversionWatch:
    """A replica's part: the newest that could be read stays."""

    def __init__(self, store: ConversionStore, view: FleetView) -> None:
        self._store = store
        self._view = view

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.read_once()
            await asyncio.sleep(_READ_SECONDS)

    async def read_once(self) -> None:
        try:
            self._view.conversion = await self._store.get() or self._view.conversion
        except ConversionUnavailableError as error:
            log.debug("conversion_not_read", reason=str(error))

    async def close(self) -> None:
        await self._store.close()
