"""A server that answers what a test wants, or breaks the connection: for what the real API does only in bad hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

BREAK = b""
"""Close the connection instead of an answer."""


def answer(body: str = "{}", status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@dataclass(slots=True)
class ScriptedServer:
    script: list[bytes | None]
    """Answers in their order. None: none, and the connection stays open."""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """Request lines with their headers."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(line.split(":")[1]) for line in head.lower().splitlines() if line.startswith("content-length")), 0
                )
                await reader.readexactly(length)
                self.requests.append(head)
                reply = self.script.pop(0)
                if reply is None:
                    await reader.read()
                if not reply:
                    break
                writer.write(reply)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def scripted(*script: bytes | None) -> AsyncIterator[ScriptedServer]:
    made = ScriptedServer([*script])
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield made
