"""The API and the jobs of a local stack, and what has to be done beside the database before they start."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from deploy.local.files import make_folder
from deploy.local.layout import CHECKOUT, StackOptions
from deploy.local.ports import HOST
from deploy.local.process import Process, Program, last_lines
from deploy.local.service import Service

__all__ = ["ControlPlane", "StackFailed"]

COMMAND_DEADLINE = timedelta(seconds=60)
START_DEADLINE = timedelta(seconds=30)
# The API may take this long to finish what it is answering, and to ship its journal.
STOP_DEADLINE = timedelta(seconds=15)
ANSWER_DEADLINE = timedelta(seconds=2)
POLL = timedelta(milliseconds=50)


class StackFailed(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """A step of the bring-up did not work; the message says which, and shows why."""


class ControlPlane:
    """Everything of a stack that runs `python -m controlplane`."""

    def __init__(
        self, options: StackOptions, *, database_url: str, redis_url: str, relay_ca_file: Path, changed: Callable[[], None]
    ) -> None:
        self._options = options
        self._ports = options.ports
        self._database_url = database_url
        self._redis_url = redis_url
        self._relay_ca_file = relay_ca_file
        self._changed = changed
        self.api = self._service("api", "serve", self._api_answers)
        self.jobs = self._service("jobs", "jobs", self._jobs_run)

    async def migrate(self) -> None:
        await self._run_command("migrate", "admin", "migrate")

    async def bootstrap(self) -> None:
        arguments = ["admin", "bootstrap", "--organization", "demo", "--project", "demo", "--if-missing"]
        await self._run_command("bootstrap", *arguments, "--output", str(self._options.tokens_file))

    async def wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_DEADLINE.total_seconds()):
                while True:
                    if await _answers_ok(self._ports.api, "/readyz"):
                        return
                    await asyncio.sleep(POLL.total_seconds())
        except TimeoutError:
            raise StackFailed(self._failure("the API does not become ready (GET /readyz)", "api")) from None

    def _service(self, name: str, command: str, ready: Callable[[], Awaitable[bool]]) -> Service:
        return Service(
            lambda: self._program(name, command),
            ready=ready,
            ready_deadline=START_DEADLINE,
            restart=self._options.restart,
            say=self._options.say,
            changed=self._changed,
        )

    def _program(self, name: str, *arguments: str) -> Program:
        metrics_port = self._ports.jobs_metrics if name == "jobs" else self._ports.metrics
        folder = self._options.state / (name if name in {"api", "jobs"} else "admin")
        make_folder(folder, mode=0o700)
        given = {key: value for key, value in self._options.environment.items() if not key.startswith("TURNFLEET_AGENT_")}
        return Program(
            name=name,
            arguments=(sys.executable, "-m", "controlplane", *arguments),
            log_file=self._options.logs / f"{name}.log",
            environment={"TURNFLEET_LOG_LEVEL": "info"}
            | given
            | {
                "TURNFLEET_DATABASE_URL": self._database_url,
                "TURNFLEET_REDIS_URL": self._redis_url,
                "TURNFLEET_RELAY_CA_FILE": str(self._relay_ca_file),
                "TURNFLEET_MASTER_KEY_FILE": str(self._options.master_key_file),
                "TURNFLEET_STATE_DIR": str(folder),
                "TURNFLEET_API_HOST": HOST,
                "TURNFLEET_API_PORT": str(self._ports.api),
                "TURNFLEET_METRICS_PORT": str(metrics_port),
            },
            directory=CHECKOUT,
            stop_deadline=STOP_DEADLINE,
        )

    async def _run_command(self, name: str, *arguments: str) -> None:
        program = self._program(name, *arguments)
        process = Process(program)
        try:
            async with asyncio.timeout(COMMAND_DEADLINE.total_seconds()):
                code = await process.exited()
        except TimeoutError:
            raise StackFailed(
                self._failure(f"turnfleet {' '.join(arguments)} took over {COMMAND_DEADLINE.total_seconds():.0f} s", name)
            ) from None
        finally:
            if process.exit_code is None:
                await process.kill()
        if code != 0:
            raise StackFailed(self._failure(f"turnfleet {' '.join(arguments)} failed (status {code})", name))

    def _failure(self, what: str, name: str) -> str:
        log = self._options.logs / f"{name}.log"
        return f"{what}. The end of {log}:" + "".join(f"\n    {line}" for line in last_lines(log))

    async def _api_answers(self) -> bool:
        return await _answers_ok(self._ports.api, "/healthz")

    async def _jobs_run(self) -> bool:
        return await _answers_ok(self._ports.jobs_metrics, "/metrics")


async def _answers_ok(port: int, path: str) -> bool:
    """By hand: this is asked many times while a program starts, and an HTTP client costs as much as what is waited for."""
    try:
        async with asyncio.timeout(ANSWER_DEADLINE.total_seconds()):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
                status = (await reader.readline()).split()
            finally:
                writer.close()
    except OSError:
        return False
    return status[1:2] == [b"200"]
