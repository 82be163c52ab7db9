"""When to probe which listener, and what the results say together.

UDP is probed every interval. TCP and TLS less often, for a handshake costs both sides processor time. A failure is checked at
once by a second probe: two in a row are bad news, one is a lost packet.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from agents import probe
from agents.disk import Disk
from agents.echo import Echo
from agents.settings import AgentSettings
from controlplane.turn.relaying import EchoPeer
from controlplane.turn.target import Target
from controlplane.turn.trust import trust
from controlplane.wire.agent_api import ListenerProbe, Probe, Transport
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

STREAM_INTERVAL_SECONDS = 10.0
NOT_RUNNING = "coturn is not running"


class Prober:
    """`on_turn` is called when the node as a whole turns good or bad."""

    def __init__(self, *, settings: AgentSettings, echo: Echo, disk: Disk, on_turn: Callable[[], None]) -> None:
        self._settings = settings
        self._echo = echo
        self._disk = disk
        self._on_turn = on_turn
        self._offers_tls = False
        self._results: dict[Transport, ListenerProbe] = {}
        self._finished_at: dict[Transport, float] = {}
        self._due_at: dict[Transport, float] = {}
        self._secret: Redacted | None = None
        self._running = False
        self._wake = asyncio.Event()
        self._context: ssl.SSLContext | None = None

    @property
    def targets(self) -> list[Target]:
        """The listeners that clients are offered."""
        return [one for one in targets(self._settings) if one.transport != "tls" or self._offers_tls]

    @property
    def ok(self) -> bool | None:
        """None until every listener has been probed."""
        if len(self._results) < len(self.targets):
            return None
        return all(result.ok for result in self._results.values())

    def results(self) -> list[ListenerProbe]:
        """The latest of each listener that has been probed."""
        return [self._results[target.transport] for target in self.targets if target.transport in self._results]

    def coturn_changed(self, *, running: bool) -> None:
        """Results of a coturn that is gone say nothing good about the next one."""
        if running == self._running:
            return
        self._running = running
        if not running and self._results:
            now = time.monotonic()
            for target in self.targets:
                self._results[target.transport] = ListenerProbe(transport=target.transport, ok=False, failure=NOT_RUNNING)
                self._finished_at[target.transport] = now
        self._due_at.clear()
        self._wake.set()

    def offer_tls(self, offered: bool) -> None:
        """A TLS listener that is not offered is not probed, and its failures are none of the node's."""
        if offered == self._offers_tls:
            return
        self._offers_tls = offered
        self._results.pop("tls", None)
        self._due_at.pop("tls", None)
        self._wake.set()

    def use_secret(self, secret: Redacted | None) -> None:
        """The newest loaded one. Without any there is nothing to probe with, and nothing is claimed."""
        if secret == self._secret:
            return
        self._secret = secret
        if secret is None:
            self._results.clear()
        self._due_at.clear()
        self._wake.set()

    def snapshot(self) -> Probe | None:
        if self.ok is None:
            return None
        oldest = min(self._finished_at[target.transport] for target in self.targets)
        return Probe(
            ok=self.ok,
            age_seconds=max(0.0, time.monotonic() - oldest),
            listeners=[self._results[target.transport] for target in self.targets],
        )

    async def run(self) -> None:
        """Never returns."""
        while True:
            self._wake.clear()
            secret = self._secret
            if self._running and secret is not None:
                for target in self.targets:
                    if self._due_at.get(target.transport, 0.0) <= time.monotonic():
                        await self._probe_twice_when_bad(target, secret)
                        if self._wake.is_set():
                            break
            pause = min(self._due_at.values(), default=time.monotonic() + self._settings.probe_interval_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, pause - time.monotonic())):
                    await self._wake.wait()

    async def _probe_twice_when_bad(self, target: Target, secret: Redacted) -> None:
        result = await self._probe(target, secret)
        if not result.ok and not self._wake.is_set():
            result = await self._probe(target, secret)
        if self._wake.is_set():
            # The secret or the process changed meanwhile: this result is about neither the old nor the new.
            return
        now = time.monotonic()
        every = self._settings.probe_interval_seconds
        self._due_at[target.transport] = now + (every if target.transport == "udp" else max(every, STREAM_INTERVAL_SECONDS))
        was, before = self.ok, self._results.get(target.transport)
        self._results[target.transport] = result
        self._finished_at[target.transport] = now
        if before is None or before.ok != result.ok:
            log.info("listener_probed", transport=target.transport, ok=result.ok, failure=result.failure)
        if not result.ok:
            # A certificate may have been renewed together with its authority.
            self._context = None
            self._due_at[target.transport] = now + every
        if self.ok != was:
            self._on_turn()

    async def _probe(self, target: Target, secret: Redacted) -> ListenerProbe:
        if target.transport == "tls" and self._context is None:
            with suppress(OSError):
                self._context = await self._disk.run(partial(trust, self._settings.ca_file))
        peer = EchoPeer(address=self._echo.address, tag=self._echo.tag)
        return await probe.probe(target, secret=secret, echo=peer, context=self._context)


def targets(settings: AgentSettings) -> list[Target]:
    """The listeners that the node really serves."""
    address, name = settings.listen_address, settings.public_host
    found = [
        Target(transport="udp", address=address, port=settings.port, server_name=name),
        Target(transport="tcp", address=address, port=settings.port, server_name=name),
    ]
    if settings.serves_tls:
        found.append(Target(transport="tls", address=address, port=settings.tls_port, server_name=name))
    return found
