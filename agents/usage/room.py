"""Puts the parts of this room together: the watcher, the enforcer and the sender, on one book and one spool."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path

from agents.badge import Badge
from agents.coturn.command_line import CommandLine
from agents.coturn.supervisor import Supervisor
from agents.disk import Disk
from agents.link import Link
from agents.usage.book import Book
from agents.usage.denials import Denials
from agents.usage.enforce import RuleBook
from agents.usage.enforcer import Enforcer
from agents.usage.sender import Sender
from agents.usage.spool import Found, Spool
from agents.usage.watcher import Watcher

FILE_NAME = "usage.db"


class Usage:
    """`beat_now` is called when the control plane has to hear that denials hold."""

    def __init__(
        self,
        *,
        state_dir: Path,
        log_file: Path,
        log_tag: str,
        disk: Disk,
        link: Link,
        badge: Badge,
        supervisor: Supervisor,
        command_line: CommandLine,
        beat_now: Callable[[], None],
    ) -> None:
        self._disk = disk
        self._spool = Spool(state_dir / FILE_NAME)
        self._book = Book()
        self._denials = Denials()
        self._rules = RuleBook()
        self.enforcer = Enforcer(
            book=self._book,
            denials=self._denials,
            rules=self._rules,
            spool=self._spool,
            disk=disk,
            supervisor=supervisor,
            command_line=command_line,
            log_file=log_file,
            log_tag=log_tag,
            on_denials=beat_now,
        )
        self.sender = Sender(link=link, badge=badge, book=self._book, rules=self._rules, spool=self._spool, disk=disk)
        self.watcher = Watcher(
            log_file=log_file,
            log_tag=log_tag,
            book=self._book,
            spool=self._spool,
            disk=disk,
            supervisor=supervisor,
            command_line=command_line,
            on_load=self._loaded,
            on_news=self.sender.send_now,
        )

    @property
    def started(self) -> int:
        """Allocations that clients made in this run of the agent."""
        return self._book.started

    @property
    def denied(self) -> int:
        return len(self._denials.held)

    async def load(self) -> None:
        """What is denied holds from the first heartbeat on."""
        await self.watcher.load()

    def tasks(self) -> dict[str, Coroutine[None, None, None]]:
        return {
            "usage": self.watcher.run(),
            "usage-enforcer": self.enforcer.run(),
            "usage-comebacks": self.enforcer.end_comebacks(),
            "usage-sender": self.sender.run(),
        }

    async def finish(self) -> None:
        """After its tasks have ended: what coturn's end made of the allocations is kept, and told if that can be soon."""
        await self.enforcer.finish()
        await self.watcher.finish()
        await self.sender.last_try()

    async def close(self) -> None:
        await self._disk.run(self._spool.close)

    def _loaded(self, found: Found) -> None:
        self._denials.load(found.denied_up_to, found.denials)
        self._rules.rules.update({one.credential_id: one for one in found.rules})
