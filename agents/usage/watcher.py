"""Follows coturn's log: reads what is new, sums it up, and puts the sums and the place in the log on disk together.

What is told to the control plane is what is on disk, so that a death of the agent can change nothing that was told.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import structlog

from agents.coturn.command_line import CommandLine
from agents.coturn.supervisor import Supervisor
from agents.disk import Disk
from agents.usage.book import Allocation, Book
from agents.usage.lines import LogReader
from agents.usage.spool import Found, Spool, row
from agents.usage.tail import Piece, Position, Tail

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LOOK_SECONDS = 0.2
"""Between two looks at the log."""
SAVE_SECONDS = 1.0
"""Sums are put on disk at least so often while they change; starts and ends at once."""
PLACE_SECONDS = 10.0
"""The same for a place alone: lines that mean nothing may be read again."""
RETRY_SECONDS = 2.0
CLEAN_SECONDS = 30.0
ROTATE_SECONDS = 2.0
"""Between two looks at the size of the log."""
MOST_UNSAVED = 20_000
"""With so many changes the log is read on only after they are on disk."""
LOOKS = 3
"""How often the command line is asked about an allocation whose client the log has not named."""
MOST_ASKED_ONE_BY_ONE = 8


class Watcher:
    """`on_news` is called when starts or ends are on disk, from within the event loop."""

    def __init__(
        self,
        *,
        log_file: Path,
        log_tag: str,
        book: Book,
        spool: Spool,
        disk: Disk,
        supervisor: Supervisor,
        command_line: CommandLine,
        on_load: Callable[[Found], None],
        on_news: Callable[[], None],
    ) -> None:
        self._log_file = log_file
        self._lines = LogReader(log_tag)
        self._book = book
        self._spool = spool
        self._disk = disk
        self._supervisor = supervisor
        self._command_line = command_line
        self._on_load = on_load
        self._on_news = on_news
        self._tail: Tail | None = None
        self._unsaved: dict[tuple[str, str], Allocation] = {}
        self._has_news = False
        self._read_on = False
        self._saved: Position | None = None
        self._saved_at = 0.0
        self._retry_at = 0.0
        self._clean_at = 0.0
        self._rotate_at = 0.0
        self._failing = ""

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def load(self) -> None:
        """What an earlier run left; when that cannot be read now, it is tried again."""
        await self._guarded(self._load_once())

    async def look(self) -> None:
        """Reads all that is new. What the disk refuses is tried again later, and said once."""
        if time.monotonic() >= self._retry_at:
            await self._guarded(self._look())

    async def _look(self) -> None:
        await self._load_once()
        if self._tail is not None:
            await self._follow(self._tail)

    async def _load_once(self) -> None:
        if self._tail is None:
            self._tail = await self._load()

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (OSError, sqlite3.Error) as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            if str(error) != self._failing:
                self._failing = str(error)
                log.error("usage_not_kept", reason=str(error))  # noqa: TRY400 - the sentence says it all
        else:
            if self._failing:
                self._failing = ""
                log.info("usage_kept_again")

    async def finish(self) -> None:
        """The last look, at the end of the agent."""
        self._retry_at = 0.0
        await self.look()
        if self._tail is not None:
            await self._disk.run(self._tail.close)

    async def _load(self) -> Tail:
        found = await self._disk.run(self._spool.load)
        if self._spool.set_aside is not None:
            log.error("usage_file_damaged", moved_to=str(self._spool.set_aside))
        self._book.load(found.boot, found.allocations)
        self._saved = found.position
        self._on_load(found)
        return Tail(self._log_file, found.position)

    async def _follow(self, tail: Tail) -> None:
        over = self._supervisor.lives if self._supervisor.is_over else None
        await self._bound(tail)
        while (piece := await self._disk.run(tail.read)) is not None:
            self._take(piece)
            tail.taken(piece)
            await self._bound(tail)
        if tail.lost:
            tail.lost = False
            log.warning("coturn_log_cut", path=str(self._log_file), reason="A part of it was removed before it was read.")
        if over is not None and self._supervisor.is_over and over == self._supervisor.lives:
            self._book.coturn_ended(at=time.time())
        await self._ask_command_line()
        if self._is_due():
            await self._save(tail)
        await self._rotate(tail)
        await self._clean()

    async def _bound(self, tail: Tail) -> None:
        """Long reading (after a long absence) is saved on the way, and what the disk refuses does not pile up."""
        if len(self._unsaved) >= MOST_UNSAVED or (self._unsaved and time.monotonic() - self._saved_at >= SAVE_SECONDS):
            await self._save(tail)

    def _take(self, piece: Piece) -> None:
        for place, event in self._lines.events(piece.data):
            self._book.apply(event, place=f"{piece.inode}/{piece.offset + place}")
        self._read_on = True
        self._collect()

    def _collect(self) -> None:
        self._has_news = self._has_news or self._book.news or self._book.boot_changed
        for one in self._book.take_changes():
            self._unsaved[one.boot_id, one.session_id] = one

    def _is_due(self) -> bool:
        self._collect()
        waited = time.monotonic() - self._saved_at
        return self._has_news or (bool(self._unsaved) and waited >= SAVE_SECONDS) or (self._read_on and waited >= PLACE_SECONDS)

    async def _save(self, tail: Tail) -> None:
        self._collect()
        rows, news = [row(one) for one in self._unsaved.values()], self._has_news
        boot, place = self._book.boot, tail.position
        await self._disk.run(lambda: self._spool.save(rows, place, boot))
        self._saved = place
        self._saved_at = time.monotonic()
        self._unsaved.clear()
        self._has_news = self._read_on = False
        if news:
            self._on_news()

    async def _ask_command_line(self) -> None:
        """The log names a client only at its end, and its transport hardly ever."""
        if not self._book.unplaced or self._supervisor.state != "running":
            return
        asked = list(self._book.unplaced.values())
        for one in asked:
            one.looked_for += 1
        names = {one.username for one in asked}
        # A list of all costs more than some lists of one.
        for name in sorted(names) if len(names) <= MOST_ASKED_ONE_BY_ONE and all(map(str.isascii, names)) else [None]:
            for session in await self._command_line.sessions(name) or []:
                self._book.describe(session.id, session.username, client=session.client, transport=session.transport)
        for one in asked:
            if one.looked_for >= LOOKS:
                self._book.unplaced.pop(one.session_id, None)

    async def _clean(self) -> None:
        if time.monotonic() < self._clean_at:
            return
        self._clean_at = time.monotonic() + CLEAN_SECONDS
        now = time.time()
        self._book.forget_ended(now=now)
        kept = list(self._book.by_credential)
        await self._disk.run(lambda: self._spool.forget_rules(kept))
        dropped = await self._disk.run(partial(self._spool.clean, now=now))
        if dropped:
            log.error("usage_dropped", allocations=dropped, reason="Too many wait for the control plane.")

    async def _rotate(self, tail: Tail) -> None:
        if time.monotonic() < self._rotate_at or not self._supervisor.may_rotate:
            return
        self._rotate_at = time.monotonic() + ROTATE_SECONDS
        place, saved = tail.position, self._saved
        # After a death of the agent it reads on where the disk says, which must not be in a file that is gone.
        in_it = place is not None and saved is not None and place.inode == saved.inode
        if await self._disk.run(lambda: self._supervisor.rotate_log(all_read=in_it and tail.reads_the_newest())):
            self._supervisor.reopen_log()
