"""One child process: how it is started, watched, signalled and ended.

Nothing here belongs to an event loop, so that a server started by one test fixture can be killed and started again by a
test that runs on another loop.
"""

import asyncio
import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

import psutil

__all__ = ["Account", "Process", "Program", "account_when_root", "base_environment", "last_lines", "said_exit"]

# Often enough that a test does not feel it where the kernel does not tell us of an exit (no pidfd on macOS and in some sandboxes).
EXIT_POLL = timedelta(milliseconds=20)
# What a child may see of our own environment. Everything else (PG*, proxies, PYTHON*) would change what it does.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "SYSTEMROOT")

# Ours may keep the servers' own accounts from their files; whatever is secret gets its mode from whoever makes it.
CHILD_UMASK = 0o022


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom a child runs as."""

    name: str
    user_id: int
    group_id: int

    def take(self, path: Path) -> None:
        """Hands a file or a folder (not what is in it) to this account."""
        os.chown(path, self.user_id, self.group_id)


def account_when_root(name: str) -> Account | None:
    """The account a child should run as, or None when we are not root and it can only run as ourselves."""
    if os.geteuid() != 0:
        return None
    for candidate in (name, "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(candidate)
            return Account(name=candidate, user_id=entry.pw_uid, group_id=entry.pw_gid)
    raise LookupError(f"neither the account {name!r} nor 'nobody' exists on this machine")


def base_environment() -> dict[str, str]:
    """The environment every child starts from: small, the same everywhere, and without a proxy on the way to loopback."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["PATH"] = environment.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return environment | {"LC_ALL": "C", "NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `environment` comes on top of `base_environment`; output is appended to `log_file`."""

    name: str
    arguments: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    # A child must not keep us from unmounting, and `postgres` cannot even enter a 0700 home.
    directory: Path = Path("/")
    account: Account | None = None
    stop_signal: Signals = SIGTERM
    stop_deadline: timedelta = timedelta(seconds=10)
    # PostgreSQL's backends leave the process group of their postmaster: signals that mean all of it must seek them out.
    scattered: bool = False


class Process:
    """A started program in a session of its own, so that a Ctrl-C on the terminal reaches only us."""

    def __init__(self, program: Program) -> None:
        self.program = program
        with program.log_file.open("ab") as log:
            # The child writes its log itself: it neither blocks nor dies when its supervisor does.
            self._popen = subprocess.Popen(
                program.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=program.directory,
                env=base_environment() | dict(program.environment),
                umask=CHILD_UMASK,
                start_new_session=True,
                user=program.account.user_id if program.account else None,
                group=program.account.group_id if program.account else None,
                extra_groups=[] if program.account else None,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    async def exited(self) -> int:
        """Waits for the end, whoever caused it."""
        while (code := self._popen.poll()) is None:
            await _wait_for_exit(self._popen.pid)
        return code

    def send(self, number: Signals) -> None:
        """Signals the process alone; a process that is already gone is no error."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def send_to_all(self, number: Signals) -> None:
        """Signals the process and everything it started that did not deliberately leave."""
        scattered: list[psutil.Process] = []
        if self.program.scattered:
            with contextlib.suppress(psutil.NoSuchProcess):
                scattered = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for child in scattered:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    async def stop(self) -> int:
        """Asks, waits for the program's deadline, then insists. Nothing of its group is left afterwards."""
        self.send(SIGCONT)
        self.send(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_deadline.total_seconds()):
                code = await self.exited()
        except TimeoutError:
            return await self.kill()
        self.send_to_all(SIGKILL)
        return code

    async def kill(self) -> int:
        """Ends it as a power cut would."""
        self.send_to_all(SIGKILL)
        return await self.exited()


async def _wait_for_exit(pid: int) -> None:
    if sys.platform != "linux":
        await asyncio.sleep(EXIT_POLL.total_seconds())
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:  # An old kernel, or a sandbox that refuses the call.
        await asyncio.sleep(EXIT_POLL.total_seconds())
        return
    try:
        loop.add_reader(descriptor, _finish, ended)
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _finish(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def said_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def last_lines(log_file: Path, *, count: int = 15) -> list[str]:
    """The end of a log, for the message that says why something did not start."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - 16_384))
            return log.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
