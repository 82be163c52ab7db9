"""Clients of a relay under test with credentials of their own, and what coturn's log says of them, read the plain way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from agents.echo import Echo
from agents.settings import AgentSettings
from controlplane.turn.client import TurnClient
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, SECRET


def signed(username: str, *, secret: Redacted = SECRET) -> tuple[str, Redacted]:
    mac = hmac.new(secret.reveal().encode(), username.encode(), hashlib.sha1).digest()
    return username, Redacted(base64.b64encode(mac).decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody with a credential, as the control plane would make it."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    expires_at: int = field(default_factory=lambda: int(time.time()) + 300)

    @property
    def username(self) -> str:
        return f"{self.expires_at}:{self.id}"

    async def connected(self, settings: AgentSettings, *, over: str = "udp") -> TurnClient:
        username, password = signed(self.username)
        client = TurnClient(username=username, password=password)
        async with asyncio.timeout(5):
            await (client.connect_udp if over == "udp" else client.connect_tcp)(LOOPBACK, settings.port)
        return client

    async def allocated(self, settings: AgentSettings, *, over: str = "udp") -> TurnClient:
        client = await self.connected(settings, over=over)
        async with asyncio.timeout(5):
            await client.allocate()
        return client


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    """A peer that sends back what it gets."""
    peer = Echo()
    await peer.open(LOOPBACK, 0)
    try:
        yield peer
    finally:
        peer.close()


async def relay_packets(client: TurnClient, peer: Echo, count: int) -> None:
    """There and back, each of 40 bytes of data, one after the other: none is lost on loopback."""
    async with asyncio.timeout(60):
        await client.bind(peer.address)
        for _ in range(count):
            await client.exchange(peer.tag + bytes(24))


Sums = tuple[int, int, int, int]
"""Bytes from and to the client, packets from and to the client."""
_BOOT = re.compile(r"turnfleet: boot (\S+)$")
_NEW = re.compile(r"session (\d+): new, realm=<\S*>, username=<(\S+)>")
_USAGE = re.compile(r"session (\d+): usage: realm=<\S*>, username=<\S+>, rp=(\d+), rb=(\d+), sp=(\d+), sb=(\d+)$")


def told_by_coturn(settings: AgentSettings) -> dict[tuple[str, str], Sums]:
    """By boot and session, of all its logs in their order: what an agent must report, whatever happened to it meanwhile."""
    folder = settings.state_dir / "coturn"
    files = [*sorted(folder.glob("turn.log.*"), key=lambda path: -int(path.suffix[1:])), folder / "turn.log"]
    boot, found = "", defaultdict[tuple[str, str], list[int]](lambda: [0, 0, 0, 0])
    for line in "".join(path.read_text() for path in files).split("\n"):
        if began := _BOOT.search(line):
            boot = began[1]
        if (new := _NEW.search(line)) and ":probe-" not in new[2]:
            _ = found[boot, new[1]]
        if (used := _USAGE.search(line)) and (boot, used[1]) in found:
            packets_from, bytes_from, packets_to, bytes_to = map(int, used.groups()[1:])
            for index, value in enumerate((bytes_from, bytes_to, packets_from, packets_to)):
                found[boot, used[1]][index] += value
    return {key: (sums[0], sums[1], sums[2], sums[3]) for key, sums in found.items()}
