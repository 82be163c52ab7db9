"""A relay host as an operator has it: the agent's program, joined with the line that the CLI prints, in front of a real coturn."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from agents.coturn.processes import coturns_with_config
from agents.status import Status
from tests.agents.places import make_settings, open_folder

_STOP_SECONDS = 15.0


class RelayHost:
    """`join` once; `vanish` and `start` again as often as a test wants."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        settings = make_settings(folder)
        self._settings = settings
        self._log = folder / "agent.log"
        self._upgrades = folder / "upgrades"
        upgrade = folder / "upgrade"
        upgrade.write_text(f"#!/bin/sh\necho upgraded >> {self._upgrades}\n")
        upgrade.chmod(0o755)
        self._process: asyncio.subprocess.Process | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "TURNFLEET_AGENT_NAME": name,
            "TURNFLEET_AGENT_STATE_DIR": str(settings.state_dir),
            "TURNFLEET_AGENT_LISTEN_ADDRESS": settings.listen_address,
            "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
            "TURNFLEET_AGENT_PORT": str(settings.port),
            "TURNFLEET_AGENT_CLI_PORT": str(settings.cli_port),
            # Many: what is on its way to a relay counts against its ports, and the callers of tests are in a hurry.
            "TURNFLEET_AGENT_RELAY_PORTS": "5000-14999",
            "TURNFLEET_AGENT_RELAY_THREADS": "1",
            "TURNFLEET_AGENT_BEFORE_RESTART": str(upgrade),
            "TURNFLEET_AGENT_CAPACITY_BITS_PER_SECOND": "1000000000",
        }

    async def join(self, line: str) -> None:
        """`line`: what `turnfleet node join-token` printed, variables and the program."""
        *variables, program, command = line.split()
        assert (program, command) == ("turnfleet-agent", "run")
        self._environment |= dict(variable.split("=", 1) for variable in variables)
        await self.start()

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agents", "run", env=self._environment, stdout=log, stderr=log
            )

    async def vanish(self) -> None:
        """The power is cut: agent and coturn are gone at once, and nobody says goodbye."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()
        for pid in self._coturns():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def leave(self) -> None:
        """As `systemctl stop` does it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            await self.vanish()
            raise

    def status(self) -> Status | None:
        """What the agent says on its host; None: nothing yet."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self._settings.state_dir / "status.json").read_bytes(), type=Status)
        return None

    @property
    def upgrades(self) -> int:
        """How often the operator's program was run between two coturns."""
        return len(self._upgrades.read_text().splitlines()) if self._upgrades.exists() else 0

    @property
    def log(self) -> str:
        return self._log.read_text()

    def _coturns(self) -> list[int]:
        return coturns_with_config(self._settings.state_dir / "coturn" / "turnserver.conf", binary=self._settings.coturn_binary)


@asynccontextmanager
async def relay_hosts(*names: str) -> AsyncIterator[dict[str, RelayHost]]:
    with open_folder() as folder:
        hosts: dict[str, RelayHost] = {}
        for name in names:
            place = folder / name
            place.mkdir(mode=0o755)
            hosts[name] = RelayHost(name, place)
        try:
            yield hosts
        finally:
            left = await asyncio.gather(*(host.leave() for host in hosts.values()), return_exceptions=True)
            for each in left:
                if isinstance(each, BaseException):
                    raise each
