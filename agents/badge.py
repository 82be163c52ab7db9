"""The identity as it is kept while the agent runs: which token is shown, and what becomes of the next one.

The next token is on disk, beside the one so far, before it is shown for the first time. Whatever is lost then, an answer, the
power, the control plane's database, one of the two is good: the one that is refused gives way to the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from agents import identity
from agents.disk import Disk
from agents.identity import Identity
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

WRITE_SECONDS = 1.0
"""Longer than this no heartbeat waits for the disk."""
AGAIN_SECONDS = 60.0
"""How long a token that was refused, or could not be kept, is left alone."""


class Badge:
    """One per run of the agent; all that talk to the control plane share it."""

    def __init__(self, who: Identity, *, state_dir: Path, disk: Disk, clock: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._state_dir = state_dir
        self._disk = disk
        self._clock = clock
        self._shows_former = False
        self._left_alone_until = 0.0
        self._refusal_told = False

    @property
    def who(self) -> Identity:
        return self._who

    @property
    def token(self) -> Redacted:
        """The one to show now."""
        former = self._who.former_token
        return former if self._shows_former and former is not None else self._who.token

    def refused(self) -> bool:
        """The control plane does not know the token that was shown: from now on the other one is. Whether that is news."""
        if self._who.former_token is None:
            return False
        self._shows_former = not self._shows_former
        if not self._shows_former:
            return False
        self._left_alone_until = self._clock() + AGAIN_SECONDS
        if not self._refusal_told:
            log.warning("node_token_refused", node_id=self._who.node_id, reason="The one before is shown instead.")
        self._refusal_told = True
        return True

    async def offered(self, token: Redacted | None) -> None:
        """What a reply brought. A full disk leaves everything as it was: the control plane goes on taking the token so far."""
        self._refusal_told = False
        if token is None or token == self.token or self._clock() < self._left_alone_until:
            return
        if token != self._who.token and not await self._kept(replace(self._who, token=token, former_token=self.token)):
            self._left_alone_until = self._clock() + AGAIN_SECONDS
            return
        self._shows_former = False

    async def move(self, realm: str) -> None:
        """Raises OSError."""
        moved = replace(self._who, realm=realm)
        await self._disk.run(partial(identity.save, self._state_dir, moved))
        self._who = moved

    async def _kept(self, who: Identity) -> bool:
        """On disk first: a token that is shown and not kept would be gone with the power."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._disk.run(partial(identity.save, self._state_dir, who))
        except (OSError, TimeoutError) as error:
            reason = "The disk is slow." if isinstance(error, TimeoutError) else f"{error.strerror}."
            log.error("node_token_not_kept", node_id=who.node_id, path=str(self._state_dir), reason=reason)  # noqa: TRY400 - all of it
            return False
        self._who = who
        log.info("node_token_kept", node_id=who.node_id)
        return True
