"""A webhook's target on loopback: a real HTTP server that keeps what it was sent and answers as it is told to."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request. `at` is monotonic."""

    at: float
    target: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, object]:
        """The payload. Raises WebhookVerificationError when the signature is not that of `secret`."""
        return dict(Webhook(secret).verify(self.body, self.headers))


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def status(code: int, **headers: str) -> Answer:
    """Answers so at once."""

    async def answer(_received: Received, writer: asyncio.StreamWriter) -> None:
        lines = [
            f"HTTP/1.1 {code} X",
            "content-length: 0",
            *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    return answer


async def never(_received: Received, _writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing."""
    await asyncio.Event().wait()


async def slow_header(_received: Received, writer: asyncio.StreamWriter) -> None:
    """A byte of a header now and then, without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.2)


async def endless_body(_received: Received, writer: asyncio.StreamWriter) -> None:
    """200, and a body that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


class Receiver:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Received] = []
        self.connections = 0
        self.port = 0
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
        with suppress(OSError, asyncio.IncompleteReadError), _aborted(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                received = Received(at=time.monotonic(), target=head[0].split()[1], headers=headers, body=body)
                self.requests.append(received)
                await self.answer(received, writer)
                await writer.drain()

    async def end(self) -> None:
        conversations = list(self._conversations)
        for each in conversations:
            each.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport lets go of its socket in the next round


@contextmanager
def _aborted(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()


@asynccontextmanager
async def receiver(answer: Answer | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Without `answer` it answers 204."""
    one = Receiver(answer or status(204))
    server = await asyncio.start_server(one.converse, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        await one.end()
