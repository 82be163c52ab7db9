"""A connection to coturn's command line on 127.0.0.1: opened when needed, kept, dropped at the first doubt.

Every call has a deadline and answers None when coturn did not: a stopped or dead coturn is news for the caller, not an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from agents.coturn import cli_replies
from agents.coturn.cli_replies import Session
from agents.coturn.config import CLI_ADDRESS
from controlplane.wire.redacted import Redacted

DEADLINE_SECONDS = 1.0
"""coturn answers within milliseconds even with a thousand sessions."""
_T = TypeVar("_T")

MOST_BYTES = 64 * 2**20
"""A reply longer than this is no reply."""


class CommandLine:
    def __init__(self, *, port: int, password: Redacted, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._port = port
        self._password = password
        self._deadline_seconds = deadline_seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._lock = asyncio.Lock()
        self.version: str | None = None
        """What the last greeting said."""

    async def log_in(self) -> bool:
        """True when coturn greeted and took the password: it lives, and `version` is known."""
        async with self._lock:
            return await self._bounded(self._connected) is not None

    async def total_sessions(self) -> int | None:
        """Live allocations by coturn's own count; sessions that never authenticated are not in it."""
        reply = await self._asked("pu")
        return None if reply is None else cli_replies.total_sessions(reply)

    async def users(self) -> list[str] | None:
        """The user names that have live allocations."""
        reply = await self._asked("pu")
        return None if reply is None else cli_replies.users(reply)

    async def sessions(self, username: str | None = None) -> list[Session] | None:
        """The live allocations of that very user name, or all."""
        reply = await self._asked("ps" if username is None else f"ps {username}")
        return None if reply is None else cli_replies.sessions(reply)

    async def end_session(self, session_id: str) -> bool:
        """Ends it within a millisecond. coturn says the same when there is no such session."""
        return await self._asked(f"cs {session_id}") is not None

    def drop(self) -> None:
        """Lets go of the connection: the next call opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def close(self) -> None:
        async with self._lock:
            self.drop()
            # The transport closes its socket in the next turn of the loop.
            await asyncio.sleep(0)

    async def _bounded(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await work()
        except (OSError, EOFError, TimeoutError):
            self.drop()
            return None
        except asyncio.CancelledError:
            # A reply that comes later would be taken for the next one's.
            self.drop()
            raise

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            return self._streams
        # The pair itself goes on from here: a drop() meanwhile forgets it, and its reader then says so.
        reader, writer = pair = await asyncio.open_connection(CLI_ADDRESS, self._port)
        self._streams = pair
        greeting = await _read_until(reader, cli_replies.greeted)
        self.version = cli_replies.version(greeting)
        writer.write(self._password.reveal().encode() + b"\r\n")
        await _read_until(reader, cli_replies.prompted)
        return pair

    async def _asked(self, command: str) -> bytes | None:
        if not command.isascii() or not command.isprintable():
            # A line break would be another command.
            return None
        async with self._lock:
            return await self._bounded(partial(self._ask, command.encode()))

    async def _ask(self, command: bytes) -> bytes:
        reader, writer = await self._connected()
        writer.write(command + b"\r\n")
        return await _read_until(reader, cli_replies.prompted)


async def _read_until(reader: asyncio.StreamReader, complete: Callable[[bytes | bytearray], bool]) -> bytes:
    received = bytearray()
    while not complete(received):
        chunk = await reader.read(2**16)
        if not chunk:
            raise EOFError("coturn closed its command line.")
        received += chunk
        if len(received) > MOST_BYTES:
            raise EOFError("coturn's reply has no end.")
    return bytes(received)
