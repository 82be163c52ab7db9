"""A private Redis: its own folder and port on loopback, nothing written to disk."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

from deploy.local.files import make_folder
from deploy.local.ports import HOST, reserve_ports
from deploy.local.process import Program, base_environment
from deploy.local.service import Served, Service, ignore

__all__ = ["RedisServer", "find_redis", "private_redis"]

READY_DEADLINE = timedelta(seconds=15)


def find_redis() -> Path:
    """Redis, or Valkey, which speaks the same protocol."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=base_environment()["PATH"]):
            return Path(found)
    raise FileNotFoundError("redis-server was not found on PATH")


class RedisServer(Served):
    """One server on one port. Everything in it is lost when it ends, as turnfleet expects of its Redis."""

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        restart: bool = False,
        say: Callable[[str], None] = ignore,
        changed: Callable[[], None] = lambda: None,
        log_file: Path | None = None,
    ) -> None:
        self.directory = directory
        self.port = port
        self._binary = find_redis()
        self._log_file = log_file or directory / "redis.log"
        make_folder(directory, mode=0o700)
        self.service = Service(
            self._program, ready=self._answers, ready_deadline=READY_DEADLINE, restart=restart, say=say, changed=changed
        )

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    async def start(self) -> None:
        await self.service.start()

    def _program(self) -> Program:
        options = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "logfile": "",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Program(
            name="redis",
            arguments=(str(self._binary), *arguments),
            log_file=self._log_file,
            directory=self.directory,
        )

    async def _answers(self) -> bool:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(1):
                return await reader.readline() == b"+PONG\r\n"
        except TimeoutError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def private_redis(directory: Path | None = None, *, port: int | None = None) -> AsyncIterator[RedisServer]:
    """A started Redis for tests; a folder or port that is not named is made, and given back at the end."""
    with contextlib.ExitStack() as cleanup:
        if directory is None:
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="turnfleet-redis-")))
        if port is None:
            port = cleanup.enter_context(reserve_ports()).base
        server = RedisServer(directory, port)
        try:
            await server.start()
            yield server
        finally:
            await server.stop()
