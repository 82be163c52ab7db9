"""A child process that is expected to be up: started until it is ready, and started again when it crashes."""

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from signal import Signals

from deploy.local.process import Process, Program, last_lines, said_exit

__all__ = ["Served", "Service", "ServiceFailed", "State", "ignore"]

READY_POLL = timedelta(milliseconds=20)
FIRST_DELAY = timedelta(milliseconds=200)
LONGEST_DELAY = timedelta(seconds=10)
# A service that stayed up this long has recovered: its next crash is a first one again.
RECOVERED_AFTER = timedelta(seconds=30)


class State(enum.Enum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    CRASHED = "crashed"


class ServiceFailed(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """A service did not become ready."""

    def __init__(self, program: Program, reason: str) -> None:
        self.program = program
        lines = "".join(f"\n    {line}" for line in last_lines(program.log_file))
        super().__init__(f"{program.name} {reason}. The end of {program.log_file}:{lines or ' (nothing was logged)'}")


def ignore(_line: str) -> None:
    """For whoever does not want to be told."""


class Service:
    """`ready` answers whether the service works; False and OSError both mean "not yet".

    With `restart`, a task watches the process from `start` to `stop` and belongs to the loop that called `start`. Without it the
    service is bound to no loop, which is what test fixtures need.
    """

    def __init__(
        self,
        program: Callable[[], Program],
        *,
        ready: Callable[[], Awaitable[bool]],
        ready_deadline: timedelta,
        restart: bool = False,
        say: Callable[[str], None] = ignore,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._program = program
        self._ready = ready
        self._ready_deadline = ready_deadline
        self._restart = restart
        self._say = say
        self._changed = changed
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.name = program().name
        self.state = State.STOPPED
        self.crash_count = 0

    @property
    def pid(self) -> int | None:
        """The live process, or None."""
        process = self._process
        return process.pid if process is not None and process.exit_code is None else None

    async def start(self) -> None:
        """Returns when it is ready; raises ServiceFailed, with nothing left running, when it does not get there."""
        if self.pid is not None:
            return
        await self.hold()
        await self._launch()
        if self._restart:
            self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def hold(self) -> None:
        """From here on a crash stays a crash."""
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        watcher.cancel()
        # However the watcher itself ended: the process is stopped after this.
        await asyncio.gather(watcher, return_exceptions=True)

    async def stop(self) -> None:
        """Ends it in its own way and keeps it dead."""
        await self.hold()
        if self._process is not None:
            await self._process.stop()
        self._become(State.STOPPED)

    async def stop_abruptly(self) -> None:
        """Kills the one process, leaves what it started alone, and keeps it dead."""
        await self.hold()
        if self._process is not None:
            self._process.send(Signals.SIGKILL)
            await self._process.exited()
        self._become(State.STOPPED)

    async def kill(self) -> None:
        """Crashes it. A watched service comes back by itself."""
        if self._process is not None:
            await self._process.kill()
        if self._watcher is None:
            self._become(State.STOPPED)

    def kill_at_once(self) -> None:
        """Sends the kill and does not wait; whoever is stopping it sees it end."""
        if self._process is not None:
            self._process.send_to_all(Signals.SIGKILL)

    def pause(self) -> None:
        """Freezes it: connections stay open and nobody answers."""
        if self._process is not None:
            self._process.send_to_all(Signals.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_to_all(Signals.SIGCONT)

    async def _launch(self) -> None:
        program = self._program()
        try:
            self._process = process = Process(program)
        except OSError as error:
            self._become(State.STOPPED)
            raise ServiceFailed(program, f"could not be executed: {error}") from error
        self._become(State.STARTING)
        try:
            async with asyncio.timeout(self._ready_deadline.total_seconds()):
                ended = await self._ended_before_ready(process)
        except TimeoutError:
            await process.stop()
            self._become(State.STOPPED)
            seconds = self._ready_deadline.total_seconds()
            raise ServiceFailed(program, f"was not ready after {seconds:.0f} s") from None
        except BaseException:
            await process.kill()
            self._become(State.STOPPED)
            raise
        if ended is not None:
            await process.kill()
            self._become(State.STOPPED)
            raise ServiceFailed(program, f"{said_exit(ended)} before it was ready")
        self._become(State.READY)

    async def _ended_before_ready(self, process: Process) -> int | None:
        while True:
            ready = await self._is_ready()
            # The exit is looked at last: something else may be answering on the port of a process that failed over it.
            if process.exit_code is not None or ready:
                return process.exit_code
            await asyncio.sleep(READY_POLL.total_seconds())

    async def _is_ready(self) -> bool:
        try:
            return await self._ready()
        except OSError:
            return False

    async def _watch(self) -> None:
        delay = FIRST_DELAY
        while True:
            process = self._process
            if process is None:
                return
            started = time.monotonic()
            code = await process.exited()
            self.crash_count += 1
            self._become(State.CRASHED)
            if time.monotonic() - started > RECOVERED_AFTER.total_seconds():
                delay = FIRST_DELAY
            self._say(f"{self.name} {said_exit(code)}; starting it again in {delay.total_seconds():.1f} s")
            await asyncio.sleep(delay.total_seconds())
            delay = min(delay * 2, LONGEST_DELAY)
            began = time.monotonic()
            try:
                await self._launch()
            except ServiceFailed as failure:
                self._say(str(failure))
            except Exception as failure:  # Whatever it was: a part that nobody watches any more would stay dead.
                self._say(f"{self.name} could not be started again: {type(failure).__name__}: {failure}")
            else:
                self._say(f"{self.name} is up again after {time.monotonic() - began:.1f} s (pid {self.pid})")

    def _become(self, state: State) -> None:
        self.state = state
        try:
            self._changed()
        except Exception as failure:  # Whoever wants to know of a change has no say in whether the part is watched.
            self._say(f"{self.name} is {state.value}, which could not be recorded: {failure}")


class Served:
    """A server that is one service: what can be done to its process."""

    service: Service

    @property
    def pid(self) -> int | None:
        return self.service.pid

    async def stop(self) -> None:
        await self.service.stop()

    async def kill(self) -> None:
        """A power cut, as far as a process can have one."""
        await self.service.kill()

    def pause(self) -> None:
        self.service.pause()

    def resume(self) -> None:
        self.service.resume()
