"""HTTP/1.1 as bytes: stored requests sent to the letter, and a tap that hears what a real client and the API say."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Conversation", "Request", "WireTap", "send_bytes", "tapped"]

ANSWER_DEADLINE_SECONDS = 20.0
CLOSE_DEADLINE_SECONDS = 10.0
READ_POLL_SECONDS = 0.002
CHUNK_BYTES = 65_536
SOCKETS = Path("/proc/net/tcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client sent. Header names are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API answered. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def _split(message: bytes) -> tuple[str, dict[str, str], bytes] | None:
    """First line, headers and body of one message, or None while it is incomplete. Without Content-Length there is no body."""
    head, end, rest = message.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert "transfer-encoding" not in headers, "no sample and no answer is chunked"
    length = int(headers.get("content-length", "0"))
    if len(rest) < length:
        return None
    assert len(rest) == length, f"{len(rest) - length} bytes after the message: {rest[length:]!r}"
    return first, headers, rest


def _answer(message: bytes) -> Answer | None:
    parts = _split(message)
    if parts is None:
        return None
    line, headers, body = parts
    version, status, _ = line.split(" ", 2)
    assert version == "HTTP/1.1"
    return Answer(status=int(status), headers=headers, body=body)


async def send_bytes(port: int, *pieces: bytes) -> Answer:
    """Sends the pieces over a connection of their own, and returns the answer.

    A later piece leaves only when the API has read the one before, so that it cannot read them as one.
    """
    async with asyncio.timeout(ANSWER_DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            received = b""
            for number, piece in enumerate(pieces):
                if number:
                    await _until_read_by_peer(writer)
                writer.write(piece)
                await writer.drain()
            while (answer := _answer(received)) is None:
                chunk = await reader.read(CHUNK_BYTES)
                assert chunk, f"the API closed the connection after {received!r}"
                received += chunk
            return answer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _until_read_by_peer(writer: asyncio.StreamWriter) -> None:
    ours: int = writer.get_extra_info("sockname")[1]
    theirs: int = writer.get_extra_info("peername")[1]
    while _unread_bytes(at=theirs, of=ours):  # noqa: ASYNC110 - the kernel tells nobody when a peer reads
        await asyncio.sleep(READ_POLL_SECONDS)


def _unread_bytes(*, at: int, of: int) -> int:
    """What the socket on port `at`, with port `of` as its peer, has received and not read. Zero where nobody says (macOS)."""
    if not SOCKETS.exists():
        return 0
    for line in SOCKETS.read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (at, of):
            return int(queues.partition(":")[2], 16)
    raise AssertionError(f"no connection from port {of} to port {at}")


@dataclass(slots=True, kw_only=True)
class Conversation:
    """Both directions of one connection, byte for byte."""

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)

    @property
    def request(self) -> Request:
        parts = _split(bytes(self.sent))
        assert parts is not None, f"an incomplete request: {bytes(self.sent)!r}"
        line, headers, body = parts
        return Request(line=line, headers=headers, body=body)

    @property
    def answer(self) -> Answer:
        answer = _answer(bytes(self.received))
        assert answer is not None, f"an incomplete answer: {bytes(self.received)!r}"
        return answer


class WireTap:
    """Stands between a client and the API, hands every byte on as it comes, and keeps a copy."""

    def __init__(self, api_port: int) -> None:
        self.conversations: list[Conversation] = []
        self._api_port = api_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """After the client's end: by then its connections are closed, or closing."""
        assert self._server is not None
        self._server.close()
        if self._connections:
            _, pending = await asyncio.wait(self._connections, timeout=CLOSE_DEADLINE_SECONDS)
            for task in pending:
                task.cancel()
            await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._relay(reader, writer)))

    async def _relay(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        conversation = Conversation()
        self.conversations.append(conversation)
        api_reader, api_writer = await asyncio.open_connection("127.0.0.1", self._api_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(client_reader, api_writer, conversation.sent))
                group.create_task(_pump(api_reader, client_writer, conversation.received))
        finally:
            await _close(client_writer, api_writer)


@asynccontextmanager
async def tapped(api_port: int) -> AsyncIterator[WireTap]:
    tap = WireTap(api_port)
    await tap.start()
    try:
        yield tap
    finally:
        await tap.stop()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            copy += chunk
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _close(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
