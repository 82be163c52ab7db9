"""One running coturn: started by us, or found running. Its death is noticed at once.

Not asyncio's subprocess: that kills its child when the event loop is closed, and a coturn may have to outlive its agent.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from agents.coturn import processes
from agents.errors import CoturnError
from agents.files import write_atomically

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

TERMINATE_SECONDS = 10.0
"""Newer versions take up to 6 s to end on SIGTERM, with their sockets open meanwhile."""
KILL_SECONDS = 5.0
POLL_SECONDS = 0.2
"""How often a process is looked at where there is no pidfd."""


class BootRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which coturn we started last, kept beside its configuration."""

    pid: int
    start_mark: str | None
    boot_id: str
    config_digest: str
    started_at: float
    """Unix seconds."""


@dataclass(slots=True)
class Process:
    """A handle on a pid. `died` is set once it is gone; close() lets go of it without touching the process."""

    pid: int
    boot_id: str
    started_at: float
    on_death: Callable[[], None]
    died: asyncio.Event
    exit_code: int | None = None
    """None while it lives, and when it was not our child."""
    _pidfd: int | None = None
    _timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._gone()
        except (AttributeError, OSError):
            self._poll()
        else:
            asyncio.get_running_loop().add_reader(self._pidfd, self._gone)

    def signal(self, number: signal.Signals) -> None:
        """Never hits another process that got the same pid: after the death it does nothing."""
        if self.died.is_set():
            return
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            log.warning(
                "signal_refused", pid=self.pid, signal=number.name, reason="The process belongs to another user than the agent."
            )

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL, and returns only when it is gone: a second coturn on the same ports would steal clients.

        CoturnError when even that does not end it.
        """
        self.signal(signal.SIGTERM)
        # A stopped (SIGSTOP) process would take the SIGTERM only when it goes on.
        self.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(TERMINATE_SECONDS):
                await self.died.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            try:
                async with asyncio.timeout(KILL_SECONDS):
                    await self.died.wait()
            except TimeoutError:
                raise CoturnError(
                    f"coturn (process {self.pid}) does not end, not even by SIGKILL: see ps -o user,stat,wchan -p {self.pid}."
                ) from None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _poll(self) -> None:
        if self._ended():
            self._gone()
        else:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll)

    def _gone(self) -> None:
        self._ended()
        self.close()
        self.died.set()
        self.on_death()

    def _ended(self) -> bool:
        """A child of ours stays a zombie until it is waited for, which also tells how it ended."""
        if self.exit_code is not None:
            return True
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return processes.is_gone(self.pid)
        if pid == self.pid:
            self.exit_code = os.waitstatus_to_exitcode(status)
        return pid == self.pid


def watched(pid: int, *, boot_id: str, started_at: float, on_death: Callable[[], None]) -> Process:
    process = Process(pid=pid, boot_id=boot_id, started_at=started_at, on_death=on_death, died=asyncio.Event())
    process.watch()
    return process


def spawn(binary: str, config: Path) -> int:
    """Starts coturn in a session of its own, so that a signal for our terminal does not reach it. OSError when it cannot."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return os.posix_spawnp(
            binary,
            [binary, "-c", str(config)],
            {key: value for key, value in os.environ.items() if not key.startswith("TURNFLEET_")},
            file_actions=[(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR2],
        )
    finally:
        os.close(null)


def write_boot(path: Path, record: BootRecord) -> None:
    write_atomically(path, msgspec.json.encode(record), mode=0o600)


def read_boot(path: Path) -> BootRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=BootRecord)
    except (OSError, msgspec.DecodeError):
        return None
