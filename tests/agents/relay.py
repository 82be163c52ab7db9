"""A real coturn with the agent's own configuration, without the rest of the agent."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from agents import agent, host
from agents.coturn import config, folder, orphans, processes
from agents.coturn.command_line import CommandLine
from agents.coturn.folder import Folder, Owner
from agents.coturn.process import Process, spawn, watched
from agents.coturn.turndb import TurnDatabase
from agents.echo import Echo
from agents.settings import AgentSettings
from controlplane.turn.relaying import EchoPeer
from controlplane.wire.redacted import Redacted
from tests.agents.places import DISK, REALM, SECRET, eventually


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Files in place, nothing started."""

    settings: AgentSettings
    folder: Folder
    owner: Owner
    password: Redacted
    database: TurnDatabase

    def text(self) -> str:
        return config.render(agent.wanted(self.settings, self.folder, self.owner, self.password, tuple(host.addresses()), REALM))

    def write(self, text: str | None = None) -> Path:
        self.folder.config.write_text(text or self.text())
        return self.folder.config


async def prepare(settings: AgentSettings, *, secrets: Mapping[int, Redacted] | None = None) -> Prepared:
    place = Folder(root=settings.state_dir / "coturn")
    owner = folder.find_owner(settings)
    password = folder.prepare(place, owner)
    database = TurnDatabase(place.database, uid=owner.uid, gid=owner.gid, disk=DISK)
    await database.prepare()
    await database.replace(REALM, {1: SECRET} if secrets is None else secrets)
    return Prepared(settings=settings, folder=place, owner=owner, password=password, database=database)


@dataclass(frozen=True, kw_only=True)
class Relay:
    prepared: Prepared
    process: Process
    echo: EchoPeer
    command_line: CommandLine

    @property
    def port(self) -> int:
        return self.prepared.settings.port

    def suspended(self) -> psutil.Process:
        suspend(self.process.pid)
        return psutil.Process(self.process.pid)


def suspend(pid: int) -> None:
    """Returns when every thread stands still: the signal alone only asks for it, and a thread may answer once more."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while any(state != "T" for state in _states(pid)):
        assert time.monotonic() < deadline, "coturn goes on in spite of SIGSTOP"
        time.sleep(0.001)


def _states(pid: int) -> list[str]:
    stats = [path.read_text() for path in processes.PROC.joinpath(str(pid), "task").glob("*/stat")]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


async def started(prepared: Prepared, text: str | None = None) -> Process:
    assert orphans.port_fault(prepared.settings.listen_address, prepared.settings.port, socket.SOCK_DGRAM) is None
    pid = spawn(prepared.settings.coturn_binary, prepared.write(text))
    # Between fork and exec's last step a process has no command line for a moment.
    await eventually(lambda: processes.uses_config(pid, prepared.folder.config), what="a coturn with its command line")
    return watched(pid, boot_id="boot-of-test", started_at=0.0, on_death=lambda: None)


async def greeted(command_line: CommandLine, process: Process) -> None:
    async with asyncio.timeout(10):
        while not await command_line.log_in():
            assert not process.died.is_set(), "coturn ended at its start"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def relay(
    settings: AgentSettings, *, secrets: Mapping[int, Redacted] | None = None, without: str | None = None, also: str = ""
) -> AsyncIterator[Relay]:
    """As careless operators have it: `without` the lines of the configuration that this expression matches, `also` with these."""
    prepared = await prepare(settings, secrets=secrets)
    text = prepared.text()
    kept = text if without is None else "".join(line for line in text.splitlines(True) if not re.match(without, line))
    process = await started(prepared, kept + also)
    command_line = CommandLine(port=settings.cli_port, password=prepared.password)
    echo = Echo()
    try:
        await greeted(command_line, process)
        await echo.open(settings.relay_address, 0)
        yield Relay(
            prepared=prepared,
            process=process,
            echo=EchoPeer(address=echo.address, tag=echo.tag),
            command_line=command_line,
        )
    finally:
        echo.close()
        await command_line.close()
        await process.stop()
