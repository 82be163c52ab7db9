"""Ends what has to end, with the control plane or without it: allocations of denied credentials, and what the rules say."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import get_args

import structlog

from agents.coturn.command_line import CommandLine
from agents.coturn.supervisor import Supervisor
from agents.disk import Disk
from agents.usage.book import Book, CutReason
from agents.usage.denials import Denials
from agents.usage.enforce import Cut, RuleBook, denied_users
from agents.usage.lines import LogReader, Started
from agents.usage.log_end import LogEnd
from agents.usage.spool import Spool
from agents.usage.username import credential
from controlplane.wire.agent_api import DenialsDelta

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

DENIAL_SECONDS = 0.25
"""Between two looks at the live allocations while anything is denied."""
COMEBACK_SECONDS = 0.02
"""Between two looks at the end of the log while anything is denied: coturn admits a denied credential until it expires."""
HOT_COMEBACK_SECONDS = 0.002
"""The same for some time after a cut, since its holder may come back at once, again and again. Less than a round trip: the
allocation is over before its client can have sent anything into it."""
HOT_SECONDS = 10.0
RULE_SECONDS = 1.0
SAVE_AGAIN_SECONDS = 2.0
SLOW_DISK_SECONDS = 1.0
"""Longer than this neither a heartbeat nor the end of the agent waits for the disk; what ends allocations never does."""


class Enforcer:
    def __init__(
        self,
        *,
        book: Book,
        denials: Denials,
        rules: RuleBook,
        spool: Spool,
        disk: Disk,
        supervisor: Supervisor,
        command_line: CommandLine,
        log_file: Path,
        log_tag: str,
        on_denials: Callable[[], None],
    ) -> None:
        self._book = book
        self._denials = denials
        self._rules = rules
        self._spool = spool
        self._disk = disk
        self._supervisor = supervisor
        self._command_line = command_line
        self._log_end = LogEnd(log_file)
        self._lines = LogReader(log_tag)
        self._on_denials = on_denials
        self._wake = asyncio.Event()
        self._hot_until = 0.0
        self._rules_at = 0.0
        self._save_at = 0.0
        self._saving: asyncio.Task[None] | None = None
        self._failing = ""
        self._ending = False
        self.cuts: Counter[CutReason] = Counter(dict.fromkeys(get_args(CutReason), 0))
        """Allocations that it had coturn end, in this run of the agent."""

    @property
    def denied_up_to(self) -> int:
        return self._denials.up_to

    async def take(self, delta: DenialsDelta) -> None:
        """They hold at once, and after a restart. `on_denials` is called when the control plane has something to hear about it."""
        if self._denials.take(delta, now=time.time()):
            log.info("denials_taken", up_to=self._denials.up_to, new=len(delta.denials), held=len(self._denials.held))
            self._wake.set()
            self._save_at = 0.0
            await self._save(within_seconds=SLOW_DISK_SECONDS)
            self._on_denials()

    def end_everything(self, wanted: bool) -> None:
        """Every live allocation is ended until it is not wanted any more."""
        self._ending = wanted
        log.info("ending_allocations" if wanted else "not_ending_allocations")
        self._wake.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._wake.clear()
            await self.enforce()
            with suppress(TimeoutError):
                async with asyncio.timeout(DENIAL_SECONDS if self._denials.held else RULE_SECONDS):
                    await self._wake.wait()

    async def end_comebacks(self) -> None:
        """Allocations of denied credentials, the moment coturn's log tells of them. Never returns."""
        try:
            while True:
                lives = self._supervisor.lives
                news = self._log_end.news()
                if not self._denials.held:
                    await asyncio.sleep(DENIAL_SECONDS)
                    continue
                for _, event in self._lines.events(news):
                    if lives != self._supervisor.lives or self._supervisor.state != "running":
                        break  # another coturn begins its numbers anew: the list of live allocations tells
                    if isinstance(event, Started) and denied_users((event.username,), self._denials.held):
                        await self._end(Cut(session_id=event.session_id, username=event.username, reason="revoked"))
                await asyncio.sleep(HOT_COMEBACK_SECONDS if time.monotonic() < self._hot_until else COMEBACK_SECONDS)
        finally:
            self._log_end.close()

    async def enforce(self) -> None:
        self._denials.lapse(time.time())
        if self._supervisor.state == "running":
            if self._denials.held:
                await self._end_denied()
            if self._ending:
                await self._end_users(await self._command_line.users() or [], reason="drained")
            if time.monotonic() >= self._rules_at:
                self._rules_at = time.monotonic() + RULE_SECONDS
                await self._end_by_rule()
        await self._save(within_seconds=0)

    async def finish(self) -> None:
        """After run() has ended: what is denied is on disk, if that can be soon."""
        for _ in ("what is being written", "what came since"):
            await self._save(within_seconds=SLOW_DISK_SECONDS)

    async def _end_denied(self) -> None:
        """By coturn's own list: the log may be behind."""
        await self._end_users(denied_users(await self._command_line.users() or [], self._denials.held), reason="revoked")

    async def _end_users(self, usernames: Iterable[str], *, reason: CutReason) -> None:
        for username in usernames:
            for session in await self._command_line.sessions(username) or []:
                await self._end(Cut(session_id=session.id, username=username, reason=reason))

    async def _end_by_rule(self) -> None:
        cuts = self._rules.due(self._book.by_credential, now=time.time())
        for username, of_it in groupby(sorted(cuts, key=lambda one: one.username), key=lambda one: one.username):
            # Only what coturn itself still lists under this name: a number may be another allocation's after its restart.
            living = {one.id for one in await self._command_line.sessions(username) or []}
            await self._end_those(one for one in of_it if one.session_id in living)

    async def _end_those(self, cuts: Iterable[Cut]) -> None:
        for one in cuts:
            await self._end(one)

    async def _end(self, cut: Cut) -> None:
        if not await self._command_line.end_session(cut.session_id):
            return
        if cut.reason == "revoked":
            self._hot_until = time.monotonic() + HOT_SECONDS
        if self._book.cut(cut.session_id, cut.reason):
            self.cuts[cut.reason] += 1
            of = credential(cut.username)
            credential_id = of.id if of is not None else None
            log.info("allocation_cut", session_id=cut.session_id, credential_id=credential_id, reason=cut.reason)

    async def _save(self, *, within_seconds: float) -> None:
        """Goes on without a disk that takes longer: what is denied holds in memory."""
        if self._saving is None:
            if not self._denials.unsaved or time.monotonic() < self._save_at:
                return
            self._saving = asyncio.create_task(self._save_now(), name="usage-denials")
        saving = self._saving
        await asyncio.wait({saving}, timeout=within_seconds)
        if saving.done():
            self._saving = None if self._saving is saving else self._saving
            saving.result()

    async def _save_now(self) -> None:
        """What the disk refuses is tried again."""
        up_to, held = self._denials.up_to, list(self._denials.held.values())
        self._denials.unsaved = False
        try:
            await self._disk.run(lambda: self._spool.save_denials(up_to, held))
        except (OSError, sqlite3.Error) as error:
            self._denials.unsaved = True
            self._save_at = time.monotonic() + SAVE_AGAIN_SECONDS
            if str(error) != self._failing:
                self._failing = str(error)
                log.error("denials_not_kept", reason=str(error))  # noqa: TRY400 - the sentence says it all
        else:
            self._failing = ""
