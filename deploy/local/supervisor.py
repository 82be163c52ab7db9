"""The process that holds a stack: starts it, obeys commands, ends it on a signal."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal
from typing import Any

from deploy.local.api_client import ApiRefused
from deploy.local.control import ControlServer, NotRunning, StackLock, find_running
from deploy.local.folders import FolderRefused
from deploy.local.layout import StackOptions
from deploy.local.logs import LogFollower, log_files
from deploy.local.ports import PortsTaken
from deploy.local.service import ServiceFailed
from deploy.local.stack import NoSuchPart, Stack, StackFailed

__all__ = ["BRING_UP_FAILURES", "Supervisor", "already_up", "say", "summary"]

BRING_UP_FAILURES = (
    ServiceFailed,
    StackFailed,
    ApiRefused,
    PortsTaken,
    FolderRefused,
    FileNotFoundError,
)
READY_MARK = b"ready\n"


def say(line: str) -> None:
    """To the terminal. One that is gone (`up | head`, a closed window) or lacks a sign must not keep the stack from ending."""
    try:
        print(line, flush=True)
    except UnicodeError:
        say(line.encode("ascii", "backslashreplace").decode())
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Supervisor:
    """`run` returns the exit status of `up`. With `ready_descriptor` it is the detached one: it tells of being ready there."""

    def __init__(self, options: StackOptions, *, ready_descriptor: int | None, show_logs: bool) -> None:
        self._options = options
        self._ready_descriptor = ready_descriptor
        self._show_logs = show_logs
        self._stack: Stack | None = None
        self._end = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_ready = False

    async def run(self) -> int:
        lock = StackLock(self._options.state)
        if not lock.take():
            say(already_up(self._options.state, self._options.dir_argument))
            return 1
        control = ControlServer(self._options.state, self._answer)
        try:
            await control.start()
            with self._signals():
                return await self._hold()
        finally:
            self._ended.set()
            await control.stop()
            lock.release()

    async def _hold(self) -> int:
        began = time.monotonic()
        try:
            stack = self._stack = Stack(self._options, lost=self._end.set)
            if not await self._until_end(stack.start()):
                say("interrupted before it was ready; nothing is left running")
                return 130
        except BRING_UP_FAILURES as failure:
            say(f"error: {failure}\nnothing is left running")
            return 1
        try:
            await self._serve(stack, time.monotonic() - began)
        finally:
            self._is_ready = False
            say("stopping (interrupt again to kill at once) …")
            stopping = time.monotonic()
            await stack.stop()
            say(f"stopped ({time.monotonic() - stopping:.1f} s)")
        return 0

    async def _serve(self, stack: Stack, seconds: float) -> None:
        """Until the end is asked for."""
        self._is_ready = True
        detached = self._ready_descriptor is not None
        say(summary(stack.ready, seconds, detached=detached, directory=self._options.dir_argument))
        self._tell_parent()
        if self._show_logs:
            files = {name: file for name, file in log_files(self._options.state).items() if ":" not in name}
            width = max((len(name) for name in files), default=0)
            follower = LogFollower(files, from_end=True)
            await self._until_end(follower.run(lambda name, line: say(f"{name:<{width}} | {line}")))
        await self._end.wait()

    async def _until_end(self, work: Coroutine[Any, Any, None]) -> bool:
        """False when the end was asked for before the work was done; the work is then cancelled and has ended."""
        task = asyncio.create_task(work)
        end = asyncio.create_task(self._end.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not task.done():
                task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return False
        return True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # Under nohup a hang-up is ignored, and stays so.
        numbers = [SIGINT, SIGTERM] + ([] if getsignal(SIGHUP) is SIG_IGN else [SIGHUP])
        for number in numbers:
            loop.add_signal_handler(number, self._asked_to_end)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _asked_to_end(self) -> None:
        if self._end.is_set() and self._stack is not None:
            self._stack.kill_all()
        self._end.set()

    def _tell_parent(self) -> None:
        if self._ready_descriptor is not None:
            with contextlib.suppress(OSError):
                os.write(self._ready_descriptor, READY_MARK)
                os.close(self._ready_descriptor)

    async def _answer(self, command: str, target: str) -> dict[str, Any]:
        if command == "down":
            self._end.set()
            await self._ended.wait()
            return {"said": "stopped"}
        if self._stack is None or not self._is_ready:
            return {"error": "the stack is still starting, or already stopping"}
        try:
            match command:
                case "status":
                    return {"parts": self._stack.parts.rows(), "ready": self._stack.ready}
                case "stop":
                    said = await self._stack.stop_part(target)
                case "start":
                    said = await self._stack.start_part(target)
                case _:
                    return {"error": f"unknown command {command!r}"}
        except (NoSuchPart, ServiceFailed, StackFailed, OSError) as failure:
            return {"error": str(failure)}
        say(said)
        return {"said": said}


def summary(ready: dict[str, Any], seconds: float | None, *, detached: bool, directory: str) -> str:
    """What to do with a stack that is up."""
    took = "" if seconds is None else f" after {seconds:.1f} s"
    end = f"./deploy/dev down{directory}" if detached else "Ctrl-C"
    return f"""
turnfleet is ready{took}: {len(ready["nodes"])} relays in {", ".join(ready["regions"])}

  try       curl -s -X POST {ready["api_url"]}/api/v1/credentials/ice -H 'Authorization: Bearer {ready["project_token"]}'
  fleet     curl -s {ready["api_url"]}/api/v1/fleet/overview -H 'Authorization: Bearer {ready["operator_token"]}'
  read      {ready["api_url"]}/docs
  look      ./deploy/dev status{directory}, ./deploy/dev logs [NAME] [-f]{directory}
  break     ./deploy/dev stop {ready["regions"][0]}-1{directory}, then start instead of stop
  stop      {end}
"""


def already_up(state: Path, directory: str) -> str:
    try:
        pid = f" (pid {find_running(state).pid})"
    except NotRunning:
        pid = ""
    return f"turnfleet is already up in {state}{pid}: ./deploy/dev status{directory} shows it, ./deploy/dev down{directory} ends it"
