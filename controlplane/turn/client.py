"""A TURN client of one short allocation (RFC 8656), for probes: Allocate, bind channels, packets there and back, release.

The messages are aioice's; its endpoint is not used. That one cannot name the server for TLS other than by the address it
connects to, keeps tasks that outlive the caller, and gives up on a silent server only after half a minute.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import ssl
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self, cast

from aioice import stun

from controlplane.wire.redacted import Redacted

CHANNEL = 0x4000
FIRST_RETRANSMIT_SECONDS = 0.2
"""Doubled each time, so that a single lost packet does not fail a probe."""
UDP_RELAY = 0x11000000
LIFETIME_SECONDS = 60
IPV6 = 0x02000000
"""REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.8)."""
_MOST_PACKETS = 4096
"""That wait to be read: a relay that floods us fills no memory."""
_HEADER_BYTES = 4
_STUN_HEADER_BYTES = 20
_UNAUTHORIZED = 401
_STALE_NONCE = 438
_NO_CODE = 0
"""Of an error without one."""

CredentialPair = tuple[str, Redacted]

# The one attribute that is needed here and that aioice's table has not.
stun.ATTRIBUTES_BY_NAME.setdefault(
    "REQUESTED-ADDRESS-FAMILY", (0x0017, "REQUESTED-ADDRESS-FAMILY", stun.pack_unsigned, stun.unpack_unsigned)
)


class TurnError(Exception):
    """The server answered with an error code."""

    def __init__(self, code: int, method: str) -> None:
        super().__init__(f"{method} was answered with {code}")
        self.code = code
        self.method = method


class NoRelayAddressError(OSError):
    """The server allocated, and did not say where."""


class ConnectionGoneError(ConnectionError):
    """The server closed the connection, or its port is closed."""


class TurnClient(asyncio.DatagramProtocol, asyncio.Protocol):
    """One 5-tuple. Has no tasks of its own; every wait is the caller's, and so are the deadlines."""

    def __init__(self, *, username: str, password: Redacted) -> None:
        self._username = username
        self._password = password
        self._over_udp = False
        self._transport: asyncio.Transport | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._buffer = b""
        self._waiting: dict[bytes, asyncio.Future[stun.Message]] = {}
        self._data: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone: Exception | None = None
        self._realm = ""
        self._nonce = b""
        self._key: bytes | None = None

    @classmethod
    def of(cls, credential: CredentialPair) -> Self:
        return cls(username=credential[0], password=credential[1])

    async def connect_udp(self, address: str, port: int) -> None:
        self._over_udp = True
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, remote_addr=(address, port))

    async def connect_tcp(self, address: str, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, address, port)

    async def connect_tls(self, address: str, port: int, *, context: ssl.SSLContext, server_name: str) -> None:
        """Verifies the chain, and the certificate against the name that clients are told."""
        await asyncio.get_running_loop().create_connection(lambda: self, address, port, ssl=context, server_hostname=server_name)

    @property
    def certificate_expires_at(self) -> datetime | None:
        """Of the server's certificate, which is good; None without TLS."""
        tls = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        end = None if tls is None else cast("dict[str, str]", tls.getpeercert() or {}).get("notAfter")
        return None if end is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)

    async def ask_address(self) -> tuple[str, int] | None:
        """A STUN binding request, for which nobody has to be known: where our packets seem to come from, if the server says it."""
        reply = await self._transact(self._request(stun.Method.BINDING))
        code = _error_code(reply)
        if code is not None:
            raise TurnError(code, "BINDING")
        return cast("tuple[str, int] | None", reply.attributes.get("XOR-MAPPED-ADDRESS"))

    async def allocate(self, *, family: int | None = None) -> tuple[str, int]:
        """The relayed address. Raises TurnError when the server refuses, NoRelayAddressError when it says none."""
        request = self._request(stun.Method.ALLOCATE)
        if family is not None:
            request.attributes["REQUESTED-ADDRESS-FAMILY"] = family
        request.attributes["LIFETIME"] = LIFETIME_SECONDS
        request.attributes["REQUESTED-TRANSPORT"] = UDP_RELAY
        reply = await self._ask(request)
        relayed = cast("tuple[str, int] | None", reply.attributes.get("XOR-RELAYED-ADDRESS"))
        if relayed is None or ipaddress.ip_address(relayed[0]).is_unspecified or not relayed[1]:
            raise NoRelayAddressError("The allocation has no relay address.")
        return relayed

    async def bind(self, peer: tuple[str, int], *, channel: int = CHANNEL) -> None:
        request = self._request(stun.Method.CHANNEL_BIND)
        request.attributes["CHANNEL-NUMBER"] = channel
        request.attributes["XOR-PEER-ADDRESS"] = peer
        await self._ask(request)

    async def permit(self, peer: tuple[str, int]) -> None:
        request = self._request(stun.Method.CREATE_PERMISSION)
        request.attributes["XOR-PEER-ADDRESS"] = peer
        await self._ask(request)

    async def exchange(self, data: bytes) -> None:
        """Sends the packet through the channel until the same comes back. A lost one is sent again."""
        pause = FIRST_RETRANSMIT_SECONDS
        while True:
            self._write(struct.pack("!HH", CHANNEL, len(data)) + data)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    while await self._received() != data:
                        pass
                    return
            pause *= 2

    async def release(self) -> None:
        request = self._request(stun.Method.REFRESH)
        request.attributes["LIFETIME"] = 0
        await self._ask(request)

    def close(self) -> None:
        """Drops the 5-tuple; what was sent before may still be on its way."""
        if self._datagrams is not None:
            self._datagrams.abort()
        if self._transport is not None:
            self._transport.abort()
        self._fail(ConnectionGoneError("The connection was closed."))

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._over_udp:
            self._datagrams = cast(asyncio.DatagramTransport, transport)
        else:
            self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionGoneError("The server closed the connection."))

    def error_received(self, exc: Exception) -> None:
        self._fail(exc)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._take(data)

    def data_received(self, data: bytes) -> None:
        """Cuts the stream into messages (RFC 8656 §12.5): channel data is padded to four bytes here."""
        self._buffer += data
        while len(self._buffer) >= _HEADER_BYTES:
            length = struct.unpack("!H", self._buffer[2:4])[0]
            whole = _HEADER_BYTES + (length + 3) // 4 * 4 if _is_channel(self._buffer) else _STUN_HEADER_BYTES + length
            if len(self._buffer) < whole:
                return
            self._take(self._buffer[:whole])
            self._buffer = self._buffer[whole:]

    # the protocol

    def _request(self, method: stun.Method) -> stun.Message:
        return stun.Message(message_method=method, message_class=stun.Class.REQUEST)

    async def _ask(self, request: stun.Message) -> stun.Message:
        """A transaction, and once more with the realm and nonce of a challenge."""
        reply = await self._transact(request)
        code = _error_code(reply)
        challenged = code == _UNAUTHORIZED and self._key is None
        if (challenged or code == _STALE_NONCE) and "NONCE" in reply.attributes:
            self._nonce = reply.attributes["NONCE"]
            self._realm = reply.attributes.get("REALM", self._realm)
            text = f"{self._username}:{self._realm}:{self._password.reveal()}"
            # RFC 8489 §9.2.2 names MD5 for the long-term key.
            self._key = hashlib.md5(text.encode(), usedforsecurity=False).digest()
            again = self._request(request.message_method)
            again.attributes = {
                name: value
                for name, value in request.attributes.items()
                if name not in {"USERNAME", "REALM", "NONCE", "MESSAGE-INTEGRITY", "FINGERPRINT"}
            }
            reply = await self._transact(again)
            code = _error_code(reply)
        if code is not None:
            raise TurnError(code, request.message_method.name)
        return reply

    async def _transact(self, request: stun.Message) -> stun.Message:
        """Over UDP the request is sent again until the answer comes; there is no end but the caller's deadline."""
        if self._key is not None:
            request.attributes["USERNAME"] = self._username
            request.attributes["REALM"] = self._realm
            request.attributes["NONCE"] = self._nonce
            request.add_message_integrity(self._key)
        if self._gone is not None:
            raise self._gone
        answer: asyncio.Future[stun.Message] = asyncio.get_running_loop().create_future()
        self._waiting[request.transaction_id] = answer
        pause = FIRST_RETRANSMIT_SECONDS if self._datagrams is not None else None
        try:
            while True:
                self._write(bytes(request))
                done, _ = await asyncio.wait({answer}, timeout=pause)
                if done:
                    return answer.result()
                pause = pause * 2 if pause is not None else None
        finally:
            del self._waiting[request.transaction_id]
            if not answer.cancel():
                # Looked at, so that an error which came with a cancellation is not reported as lost.
                answer.exception()

    async def _received(self) -> bytes:
        """The next packet that was relayed to us; the error of the connection when it is gone."""
        if self._gone is None or not self._data.empty():
            data = await self._data.get()
            if data is not None:
                return data
        raise self._gone or ConnectionGoneError("The connection was closed.")

    def _take(self, message: bytes) -> None:
        if len(message) >= _HEADER_BYTES and _is_channel(message):
            length = struct.unpack("!H", message[2:4])[0]
            if self._data.qsize() < _MOST_PACKETS:
                self._data.put_nowait(message[4 : 4 + length])
            return
        try:
            parsed = stun.parse_message(message)
        except (ValueError, struct.error):
            # Whatever the other side sends, at worst it is no answer.
            return
        waiting = self._waiting.get(parsed.transaction_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(parsed)

    def _write(self, data: bytes) -> None:
        if self._datagrams is not None:
            self._datagrams.sendto(data)
        elif self._transport is not None:
            self._transport.write(data + bytes(-len(data) % 4))

    def _fail(self, error: Exception) -> None:
        if self._gone is not None:
            return
        self._gone = error
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
        # Wakes whoever waits for a packet.
        self._data.put_nowait(None)


def _is_channel(data: bytes) -> bool:
    return data[0] & 0xC0 == 0x40  # noqa: PLR2004 - the first two bits, RFC 8656 §12


def _error_code(reply: stun.Message) -> int | None:
    if reply.message_class != stun.Class.ERROR:
        return None
    return int(reply.attributes.get("ERROR-CODE", (_NO_CODE, ""))[0])
