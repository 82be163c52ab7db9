"""The far end of the agent's own probes: a UDP socket on the relay address that sends back what the agent sent, and nothing else.

An open echo on a public address would be a toy for spoofed packets, so only packets that carry this run's tag are answered.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import cast

TAG_BYTES = 16
MOST_BYTES = 64


class Echo(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.tag = secrets.token_bytes(TAG_BYTES)
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        if self._transport is None:
            raise RuntimeError("The echo is not open.")
        name = self._transport.get_extra_info("sockname")
        return str(name[0]), int(name[1])

    async def open(self, address: str, port: int) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(address, port))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and len(data) <= MOST_BYTES and data.startswith(self.tag):
            self._transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error for an echo whose allocation has just gone: nothing to do."""
