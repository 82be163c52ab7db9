"""Keeps this replica's picture of the fleet current: reads Redis twice a second, rebuilds the table, writes what it heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from controlplane.fleet.model import NodeRecord
from controlplane.fleet.policy import Policy
from controlplane.fleet.view import FleetView
from controlplane.flows.directory import Directory
from controlplane.redis_store.live_state import LiveState, LiveStateUnavailableError

REFRESH_SECONDS = 0.5
"""So what the others heard is known here a quarter of a second later on average, and what they did not hear, too."""
_EARLY_REBUILD_SECONDS = 0.1
"""News that changes a node's health is acted on this soon, not at the next reading."""
_WRITE_GATHER_SECONDS = 0.02
"""Heartbeats of so many seconds share one write: far less than the others wait until they read it."""
_RECORDS_AT_ONCE = 100
_STRANGER_SECONDS = 30.0
"""No older than this is what this process knows of who is a node, when it removes others."""
_STALL_SECONDS = 3.0
"""An event loop that stood still for this long has not heard the heartbeats of that time: it judges nobody by them."""

log = structlog.get_logger()


class FleetKeeper:
    """Owns the view. All of it runs on one event loop; no request waits for any of it."""

    def __init__(self, live: LiveState, policy: Policy) -> None:
        self.view = FleetView(policy=policy)
        self._live = live
        self._cursor = 0
        self._unwritten: dict[str, NodeRecord] = {}
        self._something_to_write = asyncio.Event()
        self._news = asyncio.Event()
        self.read_at: float | None = None
        """Monotonic: the last good reading of Redis."""
        self._seeing_since: float | None = None
        self._write_failing = False
        self._old_view = False

    @property
    def knows_the_fleet(self) -> bool:
        """Whether there is a view to issue from: of Redis, or of a disk while Redis is away."""
        return self.read_at is not None or self._old_view

    def began_with_an_old_view(self, *, written_at: float) -> None:
        """The view was loaded from a disk. It was good at `written_at`, monotonic: silence is held since then."""
        self._old_view = True
        self.view.silence.blind_since = written_at

    @property
    def seeing(self) -> bool:
        """Whether the last reading of Redis went well."""
        return self._seeing_since is not None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """To be run until they are cancelled."""
        return [self._read_forever(), self._rebuild_forever(), self._write_forever()]

    @property
    def _late_seconds(self) -> float:
        return self.view.policy.late_after_seconds(self.view.interval_seconds)

    def heard(self, node_id: str, record: NodeRecord, *, news: bool) -> None:
        """A report that reached this replica: seen here at once, by the others after their next reading."""
        self.view.put_record(node_id, record, received=time.monotonic())
        self._unwritten[node_id] = record
        self._something_to_write.set()
        if news:
            self._news.set()

    async def forget(self, node_id: str) -> None:
        """Of a node that was deleted; what stays, or comes once more from another replica, is tidied later."""
        self._unwritten.pop(node_id, None)
        try:
            await self._live.forget(node_id)
        except LiveStateUnavailableError as error:
            log.warning("node_not_forgotten_by_redis", node_id=node_id, reason=str(error))

    async def tidy(self, directory: Directory) -> int:
        """Remove from Redis who is silent and no node any more; how many there were.

        A node that joined a moment ago, which this process does not know yet, is not silent.
        """
        if time.monotonic() - directory.confirmed_at > _STRANGER_SECONDS:
            return 0
        try:
            strangers = [each for each in await self._live.silent_for(2 * _STRANGER_SECONDS) if each not in directory.nodes]
            for start in range(0, len(strangers), _RECORDS_AT_ONCE):
                await self._live.forget(*strangers[start : start + _RECORDS_AT_ONCE])
        except LiveStateUnavailableError as error:
            log.warning("strangers_not_tidied", reason=str(error))
            return 0
        if strangers:
            log.info("strangers_tidied", count=len(strangers))
        return len(strangers)

    def rebuild(self) -> None:
        self.view.rebuild(now=time.monotonic(), wall=datetime.now(UTC))

    async def read_once(self) -> bool:
        """Take in what the other replicas heard. False when Redis did not answer."""
        before = time.monotonic()
        try:
            changes = await self._live.changed_since(self._cursor)
        except LiveStateUnavailableError as error:
            if self._seeing_since is not None or self.view.silence.blind_since is None:
                log.warning("fleet_view_blind", reason=str(error))
            self._seeing_since = None
            if self.view.silence.blind_since is None:
                self.view.silence.blind_since = self.read_at if self.read_at is not None else before
            return False
        if self._seeing_since is None:
            if self.view.silence.blind_since is not None:
                log.info("fleet_view_seeing", blind_seconds=round(before - self.view.silence.blind_since, 1))
            self._seeing_since = before
        if self.read_at is None and changes.records and min(seen.age_seconds for seen in changes.records) > self._late_seconds:
            # Everybody is late at our first look: it was the control plane that was away. Give them the time of a lease.
            self.view.silence.blind_since = before
        for number, seen in enumerate(changes.records):
            self.view.put_record(seen.node_id, seen.record, received=before - seen.age_seconds)
            if number % _RECORDS_AT_ONCE == 0:
                await asyncio.sleep(0)  # of 10,000 nodes there are 5,000 a second: requests get their turn in between
        if changes.unreadable:
            log.warning("fleet_records_unreadable", count=changes.unreadable)
        self._cursor = changes.cursor
        self.read_at = self.view.seen_at = before
        self._maybe_trust_silence(before)
        return True

    def _maybe_trust_silence(self, now: float) -> None:
        """After a blindness, silence counts again only when everybody had the time of a lease to be heard."""
        view = self.view
        if view.silence.blind_since is None or self._seeing_since is None:
            return
        if now - self._seeing_since >= view.policy.lease_seconds(view.interval_seconds):
            view.silence.blind_since = None

    async def _read_forever(self) -> None:
        while True:
            await self.read_once()
            self._news.set()  # what was read counts from now on
            await asyncio.sleep(REFRESH_SECONDS)

    async def _rebuild_forever(self) -> None:
        last = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._news.wait()
                    await asyncio.sleep(max(0.0, _EARLY_REBUILD_SECONDS - (time.monotonic() - last)))
            except TimeoutError:
                pass
            self._news.clear()
            now = time.monotonic()
            if now - last > _STALL_SECONDS + REFRESH_SECONDS:
                log.warning("event_loop_stalled", seconds=round(now - last, 1))
                self.view.silence.blind_since = last if self.view.silence.blind_since is None else self.view.silence.blind_since
                self._seeing_since = now if self._seeing_since is not None else None
            self.rebuild()
            last = time.monotonic()

    async def _write_forever(self) -> None:
        while True:
            await self._something_to_write.wait()
            await asyncio.sleep(_WRITE_GATHER_SECONDS)
            self._something_to_write.clear()
            batch, self._unwritten = self._unwritten, {}
            try:
                await self._live.put(batch)
            except LiveStateUnavailableError as error:
                if not self._write_failing:
                    log.warning("heartbeats_not_shared", reason=str(error))
                self._write_failing = True
                await asyncio.sleep(REFRESH_SECONDS)  # what was lost comes again with the next heartbeats
                continue
            if self._write_failing:
                log.info("heartbeats_shared_again")
            self._write_failing = False
