"""The proof that a relay relays: a real Allocate, and a packet that comes back through it."""

import asyncio
import re
import secrets
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from aioice.stun import TransactionError
from aioice.turn import TurnTransport, create_turn_endpoint

from deploy.local.ports import HOST

__all__ = ["RelayCheck", "RelayFailed", "TurnServer", "check_relay", "turn_servers"]

DEADLINE = timedelta(seconds=5)
# UDP may lose a packet even on loopback when the machine is busy; it is sent again this often until the echo is back.
RESEND = timedelta(milliseconds=200)
TURN_URL = re.compile(r"(turns?):(\[[^]]+\]|[^:?]+):(\d+)(?:\?transport=(udp|tcp))?")


class RelayFailed(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """The relay did not allocate, or did not relay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """One TURN URL with its credential, as an application gets it."""

    url: str
    username: str
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCheck:
    relayed_address: tuple[str, int]
    allocate_milliseconds: float
    echo_milliseconds: float


def turn_servers(ice_servers: Sequence[Mapping[str, object]]) -> list[TurnServer]:
    """Every turn: and turns: URL of an `iceServers` list, in its order."""
    return [
        TurnServer(url=url, username=str(server["username"]), credential=str(server["credential"]))
        for server in ice_servers
        for url in cast("list[str]", server["urls"])
        if url.startswith(("turn:", "turns:"))
    ]


class _Receiver(asyncio.DatagramProtocol):
    """Puts what arrives, and what goes wrong, where it can be awaited; `lost` is set once the allocation is given back."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.lost = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self.packets.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self.packets.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._transport.sendto(data, cast("tuple[str, int]", addr))


async def check_relay(server: TurnServer, *, context: ssl.SSLContext | None = None, deadline: timedelta = DEADLINE) -> RelayCheck:
    """Allocates at `server`, relays one packet to an echo of our own on loopback and back, and gives the allocation back.

    Raises RelayFailed with the reason. `context` verifies a turns: server.
    """
    parts = TURN_URL.fullmatch(server.url)
    if parts is None:
        raise RelayFailed(f"{server.url} is not a TURN URL")
    scheme, host, port, transport = parts.groups()
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(_Echo, local_addr=(HOST, 0))
    allocation: TurnTransport | None = None
    receiver = _Receiver()
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            began = time.perf_counter()
            allocation, receiver = await create_turn_endpoint(
                lambda: receiver,
                server_addr=(host.strip("[]"), int(port)),
                username=server.username,
                password=server.credential,
                lifetime=60,
                ssl=(context or ssl.create_default_context()) if scheme == "turns" else None,
                transport=transport or "udp",
            )
            allocated = time.perf_counter()
            await _relay_one(allocation, receiver, echo.get_extra_info("sockname"))
            echoed = time.perf_counter()
            relayed = allocation.get_extra_info("sockname")
    except TimeoutError as error:
        step = "no answer to Allocate" if allocation is None else "the relayed packet did not come back"
        raise RelayFailed(f"{server.url}: {step} within {deadline.total_seconds():.0f} s") from error
    except (OSError, TransactionError) as error:
        raise RelayFailed(f"{server.url}: {str(error) or type(error).__name__}") from error
    finally:
        await _give_back(allocation, receiver)
        echo.close()
    return RelayCheck(
        relayed_address=(relayed[0], relayed[1]),
        allocate_milliseconds=(allocated - began) * 1000,
        echo_milliseconds=(echoed - allocated) * 1000,
    )


async def _relay_one(allocation: TurnTransport, receiver: _Receiver, peer: tuple[str, int]) -> None:
    packet = secrets.token_bytes(32)
    while True:
        allocation.sendto(packet, peer)
        try:
            async with asyncio.timeout(RESEND.total_seconds()):
                came_back = await receiver.packets.get()
        except TimeoutError:
            continue
        if isinstance(came_back, Exception):
            raise came_back
        if came_back == packet:
            return


async def _give_back(allocation: TurnTransport | None, receiver: _Receiver) -> None:
    """aioice releases in the background: an event loop that ends before would leave its socket behind."""
    if allocation is None:
        return
    allocation.close()
    try:
        async with asyncio.timeout(1):
            await receiver.lost.wait()
    except TimeoutError:
        return
