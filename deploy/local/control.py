"""How the commands talk to a running supervisor: one JSON line each way, over a socket that only its owner reaches."""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.local.files import write_private
from deploy.local.folders import short_folder
from deploy.local.records import started_at_seconds

__all__ = ["ControlServer", "NotRunning", "Running", "StackLock", "call", "find_running"]

# `stop` and `down` wait for processes that may take this long to end.
REPLY_DEADLINE = timedelta(seconds=90)
# Whoever connects asks at once; one that does not is no reason to keep the connection.
QUESTION_DEADLINE = timedelta(seconds=5)
# At the end: for answers that are on their way.
LAST_WORDS = timedelta(seconds=1)
SAME_START_SECONDS = 0.5

Handler = Callable[[str, str], Awaitable[dict[str, Any]]]


class NotRunning(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """No supervisor runs in this folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The supervisor of a folder, as supervisor.json names it."""

    pid: int
    started_at_seconds: float
    socket: Path

    def lives(self) -> bool:
        started = started_at_seconds(self.pid)
        return started is not None and abs(started - self.started_at_seconds) < SAME_START_SECONDS


class StackLock:
    """Held for as long as a supervisor lives, by the kernel: it cannot be left behind."""

    def __init__(self, state: Path) -> None:
        self._file = state / "lock"
        self._descriptor: int | None = None

    def is_there(self) -> bool:
        """Whether anybody has ever taken it."""
        return self._file.exists()

    def take(self) -> bool:
        """False when another supervisor has it."""
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ControlServer:
    """Answers `{"command", "target"}` with what the handler returns."""

    def __init__(self, state: Path, handler: Handler) -> None:
        self._record = state / "supervisor.json"
        self._wanted_folder = state / "run"
        self._handler = handler
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._folder = short_folder(self._wanted_folder)
        socket = self._folder / "control"
        socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._converse, path=str(socket))
        pid = os.getpid()
        record = {"pid": pid, "started_at_seconds": started_at_seconds(pid), "socket": str(socket)}
        write_private(self._record, json.dumps(record))

    async def stop(self) -> None:
        self._record.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()
            # Whoever asked for the end is told of it before the socket goes away.
            if self._conversations:
                _, silent = await asyncio.wait(self._conversations, timeout=LAST_WORDS.total_seconds())
                for conversation in silent:
                    conversation.cancel()
                await asyncio.gather(*silent, return_exceptions=True)
            await self._server.wait_closed()
        if self._folder is not None:
            (self._folder / "control").unlink(missing_ok=True)
            if self._folder != self._wanted_folder:
                self._folder.rmdir()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)
        try:
            writer.write(json.dumps(await self._answer(reader)).encode() + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError:  # Whoever asked did not wait.
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(QUESTION_DEADLINE.total_seconds()):
                asked = json.loads(await reader.readline())
            command, target = str(asked["command"]), str(asked["target"])
        except (ValueError, TypeError, KeyError, TimeoutError):
            return {"error": 'one line is wanted: {"command": …, "target": …}'}
        try:
            return await self._handler(command, target)
        except Exception as failure:  # Said to whoever asked, who would otherwise only see the connection end.
            return {"error": f"{type(failure).__name__}: {failure}"}


def find_running(state: Path) -> Running:
    """Raises NotRunning, also when supervisor.json is of a supervisor that is gone."""
    try:
        record = json.loads((state / "supervisor.json").read_text())
        running = Running(
            pid=int(record["pid"]),
            started_at_seconds=float(record["started_at_seconds"]),
            socket=Path(record["socket"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"nothing runs in {state}") from error
    if not running.lives():
        raise NotRunning(f"nothing runs in {state}")
    return running


async def call(running: Running, command: str, target: str = "") -> dict[str, Any]:
    """Asks, and waits for the answer. TimeoutError or OSError when the supervisor does not answer."""
    async with asyncio.timeout(REPLY_DEADLINE.total_seconds()):
        reader, writer = await asyncio.open_unix_connection(str(running.socket))
        try:
            writer.write(json.dumps({"command": command, "target": target}).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    if not line:
        raise ConnectionError("the supervisor ended without an answer")
    return dict(json.loads(line))
