"""A client that wants to relay whatever happens: it sends all the while, and allocates again the moment it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.echo import Echo
from controlplane.turn.client import TurnClient, TurnError
from controlplane.wire.redacted import Redacted
from deploy.local.relay_check import TURN_URL, TurnServer
from tests.running_api import until

_ALLOCATE_SECONDS = 2.0
_SILENCE_SECONDS = 0.4
"""Without an echo for so long (over UDP a cut is silence) it allocates again."""
_PAUSE_SECONDS = 0.01
_ROUND_TRIP_SECONDS = 0.02
"""Of the network that loopback lacks: what is sent into an allocation waits so long after the answer that made it."""


@dataclass(slots=True)
class Stretch:
    """One allocation, from its first relayed packet to its last. Monotonic seconds."""

    began: float
    last: float


class RestlessClient:
    def __init__(self, server: TurnServer, echo: Echo, silence_seconds: float = _SILENCE_SECONDS) -> None:
        self.stretches: list[Stretch] = []
        self.allocations = 0
        self.refusals = 0
        self._server = server
        self._echo = echo
        self._silence_seconds = silence_seconds

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self._relay()
            except (TurnError, OSError, TimeoutError):
                self.refusals += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _relay(self) -> None:
        parts = TURN_URL.fullmatch(self._server.url)
        assert parts is not None
        _, host, port, transport = parts.groups()
        client = TurnClient(username=self._server.username, password=Redacted(self._server.credential))
        try:
            async with asyncio.timeout(_ALLOCATE_SECONDS):
                await (client.connect_tcp if transport == "tcp" else client.connect_udp)(host, int(port))
                await client.allocate()
                self.allocations += 1
                await asyncio.sleep(_ROUND_TRIP_SECONDS)
                await client.bind(self._echo.address)
            stretch: Stretch | None = None
            for number in itertools.count():
                async with asyncio.timeout(self._silence_seconds):
                    await client.exchange(self._echo.tag + number.to_bytes(8, "big"))
                now = time.monotonic()
                if stretch is None:
                    stretch = Stretch(began=now, last=now)
                    self.stretches.append(stretch)
                stretch.last = now
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            client.close()

    async def relays(self) -> None:
        async def has_relayed() -> bool:
            return bool(self.stretches) and self.stretches[-1].last - self.stretches[-1].began > 0.1

        await until(has_relayed, within_seconds=10, what=f"the client relays; refused {self.refusals} times")

    @property
    def last_packet_at(self) -> float:
        """Of all its allocations. Monotonic seconds."""
        return self.stretches[-1].last


@asynccontextmanager
async def restless(server: TurnServer, *, silence_seconds: float = _SILENCE_SECONDS) -> AsyncIterator[RestlessClient]:
    echo = Echo()
    await echo.open("127.0.0.1", 0)
    client = RestlessClient(server, echo, silence_seconds)
    running = asyncio.create_task(client.run())
    try:
        await client.relays()
        yield client
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        echo.close()
