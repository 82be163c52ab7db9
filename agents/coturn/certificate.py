"""The TLS certificate that coturn serves, and the one on disk: when coturn is to read the files again, and whether its TLS
listener is offered to clients.

coturn goes on with what it has when the files are not good, or not readable for its own user, and says so in its log alone. So
they are looked at before it is told, and what it serves is known without asking it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from agents.coturn import faults, pair
from agents.coturn.folder import Owner, first_unreadable
from agents.coturn.pair import Pair
from agents.disk import Disk
from agents.settings import AgentSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_Marks = tuple[tuple[int, int], ...]

LOOK_SECONDS = 1.0
"""Longer than this no heartbeat waits for the disk."""
AGAIN = timedelta(seconds=60)
"""How often one that is not good is read again though its files did not change: their mode may have, or the authorities."""
NANO = 1e9
WARN_BEFORE = timedelta(days=14)
"""A renewal is usually tried 30 days before the end, so that by then something is wrong with it."""


class Certificate:
    """`on_change` is called from within the event loop when `offered` changes. Without TLS settings there is nothing to look at."""

    def __init__(self, settings: AgentSettings, *, owner: Owner, disk: Disk, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._owner = owner
        self._disk = disk
        self._on_change = on_change
        self._served: Pair | None = None
        """None: not looked at since coturn began."""
        self._known: _Marks | None = None
        """The files as they were when they were read last."""
        self._seen: _Marks | None = None
        self._is_on_disk = False
        """Whether it is what the files held when they were read last."""
        self._refusal_told: str | None = None
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._coturn_read_at = 0.0
        self._warned_of: datetime | None = None
        self._told_offered = False
        self.fault: str | None = "Nothing has been looked at yet."
        """Why the listener is not offered."""
        self.reload_is_due = False
        """coturn has older files than those on disk, which are good. Whoever told it sets this back."""

    @property
    def offered(self) -> bool:
        return self.fault is None

    @property
    def ends_at(self) -> datetime | None:
        """When what coturn serves comes to its end; None without TLS."""
        return faults.ends_at(self._served) if self._served is not None else None

    def read_by_coturn(self, at: float) -> None:
        """A coturn that we did not watch until now has read the files then, in Unix seconds."""
        self._coturn_read_at = at
        self._served = None
        self.reload_is_due = False

    async def look(self) -> None:
        """Compares the files with what is known of them, in the disk's thread. A slow disk leaves everything as it was."""
        if not self._settings.serves_tls:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._disk.run(partial(self.look_now, datetime.now(UTC)))
        # Told of here alone: a look that was not waited for may have ended since.
        if self.offered != self._told_offered:
            self._told_offered = self.offered
            self._on_change()

    def look_now(self, now: datetime) -> None:
        marks = self._marks()
        # A renewal writes one file after the other: they must be at rest between two looks.
        at_rest, self._seen = marks == self._seen, marks
        if self._served is None:
            self._served = self._read(now)
            self._known, self._is_on_disk = marks, True
            if any(mtime > self._coturn_read_at * NANO for mtime, _ in marks or ()) and self._coturn_read_at:
                # Renewed while nobody watched: whatever coturn has is not known, and becomes this.
                self._take(self._served, now)
        elif marks != self._known and at_rest:
            self._known = marks
            self._take(self._read(now), now)
        elif (self.fault is not None or not self._is_on_disk) and now - self._read_at >= AGAIN:
            again = self._read(now)
            if self._is_on_disk:
                self._served = again
            else:
                self._take(again, now)
        self._judge(self._served, now)

    def _take(self, renewed: Pair, now: datetime) -> None:
        refusal = self._refusal(renewed, now) if self._is_own else None
        self._is_on_disk = refusal is None
        if refusal is None:
            self._served = renewed
            self.reload_is_due = self._is_own
        elif refusal != self._refusal_told:
            log.error("certificate_not_loaded", path=str(self._settings.tls_cert), reason=refusal)
        self._refusal_told = refusal

    @property
    def _is_own(self) -> bool:
        """Under another supervisor a renewal is the host's business: coturn is taken to have what is on disk."""
        return self._settings.coturn == "own"

    def _refusal(self, renewed: Pair, now: datetime) -> str | None:
        found = faults.of(renewed, name=self._settings.public_host, now=now)
        return found[0].words if found else first_unreadable(self._paths, self._owner)

    def _judge(self, served: Pair, now: datetime) -> None:
        found = faults.of(served, name=self._settings.public_host, now=now)
        before, self.fault = self.fault, found[0].words if found else None
        ends_at = faults.ends_at(served)
        if self.fault is not None and self.fault != before:
            log.error("tls_not_offered", path=str(self._settings.tls_cert), reason=self.fault)
        if self.fault is None and before is not None:
            log.info("tls_offered", path=str(self._settings.tls_cert), ends_at=ends_at.isoformat() if ends_at else None)
        if self.fault is None and ends_at is not None and ends_at - now < WARN_BEFORE and self._warned_of != ends_at:
            self._warned_of = ends_at
            log.warning("certificate_ends_soon", path=str(self._settings.tls_cert), ends_at=ends_at.isoformat())

    def _read(self, now: datetime) -> Pair:
        self._read_at = now
        certificate, key = self._paths
        return pair.read(certificate, key, name=self._settings.public_host, ca_file=self._settings.ca_file)

    @property
    def _paths(self) -> tuple[Path, Path]:
        certificate, key = self._settings.tls_cert, self._settings.tls_key
        if certificate is None or key is None:
            raise RuntimeError("There is no TLS listener.")
        return certificate, key

    def _marks(self) -> _Marks | None:
        """None while one of the files is not there."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_ino) for one in stats)
