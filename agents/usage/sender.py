"""Tells the control plane of use, at least once, beside the heartbeats: starts and ends at once, sums of live ones now and then."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from contextlib import suppress
from functools import partial

import structlog

from agents.backoff import asked_delay, full_jitter
from agents.badge import Badge
from agents.disk import Disk
from agents.link import Answered, Link, Refused, Unreachable
from agents.usage.book import Book
from agents.usage.enforce import RuleBook
from agents.usage.spool import Spool
from controlplane.wire.agent_api import AllocationReport, UsageReply, UsageReport

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

MOST_ALLOCATIONS = 500
SUMS_SECONDS = 5.0
"""Between two tellings of the sums of live allocations."""
SHORTEST_GAP_SECONDS = 0.1
"""Between two reports with news."""
BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
FIRST_ASK_SECONDS = 1.0
LONGEST_ASK_SECONDS = 60.0
"""A credential whose rule is not known there is asked for again, after twice as long each time."""
LAST_SECONDS = 2.0
"""For the last try, when the agent ends."""
_TOO_LARGE = 413
_NOT_ACCEPTABLE = {400, 422}

_dice = random.SystemRandom()


class Sender:
    def __init__(self, *, link: Link, badge: Badge, book: Book, rules: RuleBook, spool: Spool, disk: Disk) -> None:
        self._link = link
        self._badge = badge
        self._book = book
        self._rules = rules
        self._spool = spool
        self._disk = disk
        self._news = asyncio.Event()
        self._most = MOST_ALLOCATIONS
        self._failures = 0
        self._sums_at = 0.0
        self._asked: dict[str, tuple[float, float]] = {}
        self._told = ""
        self.waiting = 0
        """Allocations on disk that the control plane has not confirmed as they are now."""

    def send_now(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._news.clear()
            pause = await self.send()
            if pause is None:
                # Something may have come meanwhile; else the next telling of sums, or of what is asked again, is due then.
                with suppress(TimeoutError):
                    async with asyncio.timeout(FIRST_ASK_SECONDS):
                        await self._news.wait()
                pause = SHORTEST_GAP_SECONDS
            await asyncio.sleep(pause)

    async def send(self) -> float | None:
        """Sends until nothing is due. The seconds to wait after a failure; None when there was none."""
        try:
            return await self._send()
        except (OSError, sqlite3.Error) as error:
            self._say(f"disk: {error}", "usage_not_read", reason=str(error))
            return self._failed(None)

    async def last_try(self) -> None:
        """At the end of the agent: what is left is told by the next run."""
        with suppress(OSError, sqlite3.Error, TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self._send()

    async def _send(self) -> float | None:
        while True:
            sums = time.monotonic() >= self._sums_at
            due = await self._disk.run(partial(self._spool.waiting, self._most, news_only=not sums))
            ask = self._to_ask()
            if not due and not ask:
                if sums:
                    self._sums_at = time.monotonic() + SUMS_SECONDS
                await self._count()
                return None
            outcome = await self._link.usage(self._badge.token, UsageReport(allocations=due, ask=ask))
            match outcome:
                case Answered(reply=reply):
                    await self._answered(reply, due)
                    if len(due) < self._most and sums:
                        self._sums_at = time.monotonic() + SUMS_SECONDS
                    self._most = min(MOST_ALLOCATIONS, self._most * 2)
                case Refused(status=status, reason=reason):
                    self._say(f"refused {status}", "usage_refused", status=status, reason=reason)
                    if not await self._smaller(status, due):
                        await self._count()
                        return self._failed(None)
                case Unreachable(reason=reason, retry_after_seconds=seconds):
                    self._say("unreachable", "usage_not_sent", reason=reason)
                    await self._count()
                    return self._failed(seconds)

    async def _count(self) -> None:
        self.waiting = await self._disk.run(self._spool.waiting_count)

    async def _answered(self, reply: UsageReply, told: list[AllocationReport]) -> None:
        self._failures = 0
        if self._told:
            self._told = ""
            log.info("usage_sent_again")
        if told:
            await self._disk.run(lambda: self._spool.acknowledge(told, at=time.time()))
        changed = [one for one in reply.rules if self._rules.rules.get(one.credential_id) != one]
        if changed:
            self._rules.rules.update((one.credential_id, one) for one in changed)
            await self._disk.run(lambda: self._spool.save_rules(changed))

    async def _smaller(self, status: int, due: list[AllocationReport]) -> bool:
        """Halves a report that is not accepted. An allocation that is refused alone is set aside: others must not wait for it."""
        if status != _TOO_LARGE and status not in _NOT_ACCEPTABLE:
            return False
        if len(due) > 1:
            self._most = max(1, len(due) // 2)
            return True
        if due and status in _NOT_ACCEPTABLE:
            one = due[0]
            log.error("usage_set_aside", coturn_boot_id=one.coturn_boot_id, session_id=one.session_id, revision=one.revision)
            await self._disk.run(lambda: self._spool.acknowledge(due, at=time.time()))
            return True
        return False

    def _to_ask(self) -> list[str]:
        """Credentials with live allocations and no rule, those that nobody was asked for of late first."""
        now = time.monotonic()
        unknown = [one for one in self._book.by_credential if one not in self._rules.rules]
        self._asked = {one: self._asked[one] for one in unknown if one in self._asked}
        found: list[str] = []
        for one in unknown:
            due_at, pause = self._asked.get(one, (0.0, FIRST_ASK_SECONDS))
            if due_at <= now and len(found) < MOST_ALLOCATIONS:
                found.append(one)
                self._asked[one] = (now + pause, min(LONGEST_ASK_SECONDS, pause * 2))
        return found

    def _failed(self, retry_after_seconds: float | None) -> float:
        self._failures += 1
        jitter = full_jitter(self._failures, _dice.random(), base_seconds=BACKOFF_SECONDS, cap_seconds=LONGEST_BACKOFF_SECONDS)
        return max(jitter, asked_delay(retry_after_seconds, _dice.random()), SHORTEST_GAP_SECONDS)

    def _say(self, what: str, event: str, **details: object) -> None:
        """Once per kind of failure, not at each try."""
        if what != self._told:
            self._told = what
            log.warning(event, **details)
