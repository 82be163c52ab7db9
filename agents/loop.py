"""The one loop: measure → report → send → plan → apply.

While the control plane is away nothing on the relay changes: coturn goes on with the secrets it has, and the loop goes on asking.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import structlog

from agents.backoff import asked_delay, heartbeat_delay
from agents.badge import Badge
from agents.link import Answered, Link, Outcome, Refused, Unreachable
from agents.metrics_heartbeats import HeartbeatOutcome, Heartbeats
from agents.node import Node
from agents.plan import plan
from controlplane.wire.agent_api import Heartbeat, HeartbeatReply
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

SHORTEST_GAP_SECONDS = 0.2
"""Between two heartbeats, however much news there is."""

_UNAUTHORIZED = 401
_dice = random.SystemRandom()


class Loop:
    """Sends heartbeats of one node and does what their replies ask for. `beat_now()` makes the next one immediate."""

    def __init__(self, *, link: Link, badge: Badge, node: Node) -> None:
        self._link = link
        self._badge = badge
        self._node = node
        self._news = asyncio.Event()
        self.heartbeats = Heartbeats()
        self._failures = 0
        self._outcome_logged = ""
        self._sent_at = 0.0

    def beat_now(self) -> None:
        self._news.set()

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._news.clear()
            asked = await self._beat()
            began = time.monotonic()
            # Not even news goes to a server that asked to be left alone.
            await asyncio.sleep(asked_delay(asked, _dice.random()))
            delay = heartbeat_delay(self._failures, _dice.random(), interval_seconds=self._node.interval_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, delay - (time.monotonic() - began))):
                    await self._news.wait()
            # News while the last heartbeat was on its way counts as well: the gap alone holds it back.
            await asyncio.sleep(max(0.0, min(SHORTEST_GAP_SECONDS, delay) - (time.monotonic() - began)))

    async def _beat(self) -> float | None:
        """The seconds that the control plane asked to be left alone for."""
        await self._node.measure()
        told_of_death = self._node.is_dead
        outcome = await self._link.heartbeat(self._badge.token, self._heartbeat)
        if told_of_death:
            # Reported, or not to be reported now: either way coturn may start again.
            self._node.death_reported()
        self._failures = 0 if isinstance(outcome, Answered) else self._failures + 1
        self._log_change(outcome)
        self.heartbeats.count(_slug(outcome))
        if isinstance(outcome, Answered):
            self.heartbeats.answered(sent_at=self._sent_at, server_at=outcome.reply.server_at, now=time.time())
            await self._node.follow(plan(outcome.reply, self._node.local_state()))
            await self._badge.offered(None if outcome.reply.node_token is None else Redacted(outcome.reply.node_token))
        else:
            # With secrets on disk the relay serves without being told to.
            self._node.serve_what_is_there()
            if isinstance(outcome, Refused) and outcome.status == _UNAUTHORIZED and self._badge.refused():
                self.beat_now()
        self._node.note_heartbeat(_slug(outcome))
        return outcome.retry_after_seconds if isinstance(outcome, Unreachable) else None

    def _heartbeat(self) -> Heartbeat:
        heartbeat = self._node.heartbeat()
        self._sent_at = heartbeat.sent_at
        return heartbeat

    def _log_change(self, outcome: Outcome[HeartbeatReply]) -> None:
        """One line when the outcome becomes another, not one per heartbeat."""
        slug = _slug(outcome)
        if slug != self._outcome_logged:
            match outcome:
                case Answered():
                    log.info("control_plane_answered", node_id=self._badge.who.node_id)
                case Refused(status=status, reason=reason):
                    log.error("heartbeat_refused", status=status, reason=reason, node_id=self._badge.who.node_id)
                case Unreachable(reason=reason):
                    log.warning("control_plane_lost", reason=reason, node_id=self._badge.who.node_id)
        self._outcome_logged = slug


def _slug(outcome: Outcome[HeartbeatReply]) -> HeartbeatOutcome:
    match outcome:
        case Answered():
            return "answered"
        case Refused():
            return "refused"
        case Unreachable():
            return "unreachable"
