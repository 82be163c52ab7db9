"""What every node has to deny, in memory: read from PostgreSQL four times a second, told with the replies to heartbeats.

What was read once is served while PostgreSQL is away. A replica that never reached it says nothing.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import structlog

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.revocation import Denied, denials_after

_PERIOD_SECONDS = 0.25
_CHUNK = 2000
"""A bigger one would hold the event loop, and with it the requests, for longer than a few milliseconds."""
_TOLD_AT_ONCE = 2000
"""Denials in one reply: about 180 kB. The rest comes with the next ones."""
_WHOLE_SECONDS = 300.0
"""All is read anew this often: what was deleted goes from memory, too."""
_number = attrgetter("number")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What a node has to add to what it denies."""

    up_to: int
    """Below what the node said: the numbers began anew, it has to forget and ask for all."""
    denied: Sequence[Denied]


class Denials:
    """One per replica. Run `run()` as a task; `read()` after a revocation of one's own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_node: dict[str, list[Denied]] = {}
        """In the order of their numbers."""
        self._known_up_to = 0
        self._last_drawn = 0
        """The last number by PostgreSQL's word. Numbers are committed before anybody is told them."""
        self._asked_at = 0.0
        """Monotonic: when the reading began that said so; 0 before the first."""
        self._whole_at: float | None = None
        self._ahead_since: dict[str, float] = {}
        """Nodes that claim a number above the last one, and when they first did."""
        self._reading = asyncio.Lock()
        self._failing = False

    async def run(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def read(self) -> bool:
        """Take in what was denied since the last reading. False when PostgreSQL did not answer."""
        async with self._reading:
            try:
                await self._read()
            except DatabaseUnavailableError as error:
                if not self._failing:
                    log.warning("denials_stale", reason=str(error))
                self._failing = True
                return False
            if self._failing:
                log.info("denials_current")
            self._failing = False
            return True

    async def _read(self) -> None:
        asked = time.monotonic()
        whole = self._whole_at is None or asked - self._whole_at > _WHOLE_SECONDS
        after = 0 if whole else self._known_up_to
        found: list[Denied] = []
        while True:
            part, last_drawn = await denials_after(self._database, after, chunk=_CHUNK)
            if last_drawn < after:
                log.warning("denials_began_anew", known_up_to=after, last_drawn=last_drawn)
                whole, after, found = True, 0, []
                continue
            found += part
            after = part[-1].number if part else after
            if len(part) < _CHUNK:
                break
        if whole:
            self._of_node, self._whole_at = {}, asked
        for each in found:
            self._of_node.setdefault(each.node_id, []).append(each)
        self._known_up_to, self._last_drawn, self._asked_at = after, last_drawn, asked

    def delta(self, node_id: str, denied_up_to: int) -> Delta | None:
        """What a node that enforces all up to that number has to be told; None: nothing, or nothing that is known here."""
        if denied_up_to > self._last_drawn:
            return self._ahead(node_id)
        self._ahead_since.pop(node_id, None)
        known = self._of_node.get(node_id)
        if known is None or known[-1].number <= denied_up_to:
            return None
        first = bisect_right(known, denied_up_to, key=_number)
        told = known[first : first + _TOLD_AT_ONCE]
        return Delta(up_to=told[-1].number, denied=told)

    def _ahead(self, node_id: str) -> Delta | None:
        """A node knows more than we do: from a replica that read later, or from a database that was restored since.

        It is the database's word, if it was asked after the node had said so.
        """
        since = self._ahead_since.setdefault(node_id, time.monotonic())
        if self._asked_at <= since:
            return None
        log.warning("node_denials_began_anew", node_id=node_id)
        del self._ahead_since[node_id]
        return Delta(up_to=0, denied=())
