"""Processes: a death is noticed, an orphan is adopted or stopped, and there is never a second coturn."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from agents.coturn import config, process, processes
from agents.coturn.command_line import CommandLine
from agents.coturn.orphans import adopt_or_stop, port_is_free
from agents.coturn.process import BootRecord, Process, watched, write_boot
from agents.coturn.supervisor import Supervisor
from agents.settings import AgentSettings
from tests.agents.places import LOOPBACK, eventually, make_settings
from tests.agents.relay import Prepared, greeted, prepare, started


def record(prepared: Prepared, running: Process, *, text: str | None = None) -> BootRecord:
    return BootRecord(
        pid=running.pid,
        start_mark=processes.start_mark(running.pid),
        boot_id="boot-of-before",
        config_digest=config.digest(text or prepared.text()),
        started_at=1.0,
    )


@asynccontextmanager
async def supervised(settings: AgentSettings) -> AsyncIterator[Supervisor]:
    prepared = await prepare(settings)
    command_line = CommandLine(port=settings.cli_port, password=prepared.password)
    supervisor = Supervisor(
        settings=settings,
        folder=prepared.folder,
        owner=prepared.owner,
        command_line=command_line,
        on_change=lambda state: supervisor.death_reported() if state == "dead" else None,
    )
    supervisor.want(prepared.text())
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await supervisor.stop()
        await command_line.close()


async def looked_for(prepared: Prepared) -> Process | None:
    return await adopt_or_stop(
        prepared.folder,
        binary="turnserver",
        config_digest=config.digest(prepared.text()),
        on_death=lambda: None,
    )


async def test_a_killed_coturn_is_noticed_at_once_with_its_exit_code(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    running = await started(prepared)
    began = time.monotonic()
    os.kill(running.pid, signal.SIGKILL)
    async with asyncio.timeout(2):
        await running.died.wait()
    assert time.monotonic() - began < 0.2
    assert running.exit_code == -signal.SIGKILL


async def test_a_death_is_noticed_without_pidfd_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    running = await started(await prepare(make_settings(folder)))
    os.kill(running.pid, signal.SIGKILL)
    async with asyncio.timeout(2):
        await running.died.wait()
    assert running.exit_code == -signal.SIGKILL


async def test_a_suspended_coturn_is_stopped_too(folder: Path) -> None:
    running = await started(await prepare(make_settings(folder)))
    os.kill(running.pid, signal.SIGSTOP)
    await running.stop()
    assert not psutil.pid_exists(running.pid)


async def test_one_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERMINATE_SECONDS", 0.2)
    child = subprocess.Popen(  # noqa: ASYNC220 - its first line is waited for below
        ["/bin/sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    running = watched(child.pid, boot_id="b", started_at=0.0, on_death=lambda: None)
    await running.stop()
    assert running.exit_code == -signal.SIGKILL
    child.returncode = running.exit_code
    child.stdout.close()


async def test_an_orphan_with_our_configuration_is_adopted_with_its_boot_id(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    orphan = await started(prepared)
    write_boot(prepared.folder.boot, record(prepared, orphan))
    adopted = await looked_for(prepared)
    assert adopted is not None
    assert (adopted.pid, adopted.boot_id) == (orphan.pid, "boot-of-before")
    await adopted.stop()
    await orphan.died.wait()


async def test_an_orphan_with_another_configuration_is_stopped_first(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    orphan = await started(prepared)
    write_boot(prepared.folder.boot, record(prepared, orphan, text="something else"))
    assert await looked_for(prepared) is None
    assert not psutil.pid_exists(orphan.pid)
    assert port_is_free(LOOPBACK, prepared.settings.port)


async def test_an_orphan_that_no_file_names_is_found_by_its_command_line(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    orphan = await started(prepared)
    prepared.folder.pid_file.unlink(missing_ok=True)
    assert await looked_for(prepared) is None
    assert not psutil.pid_exists(orphan.pid)


async def test_a_stranger_with_the_pid_of_our_pidfile_is_left_alone(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    # The stranger is this very test: stopping it would be noticed.
    prepared.folder.pid_file.write_text(f"{os.getpid()}\n")
    assert await looked_for(prepared) is None


async def test_a_foreign_server_on_the_port_keeps_coturn_from_starting(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    foreign = await started(prepared)
    command_line = CommandLine(port=prepared.settings.cli_port, password=prepared.password)
    await greeted(command_line, foreign)
    await command_line.close()
    # Another state folder: nothing tells that this coturn could be ours.
    others = make_settings(folder / "other", port=prepared.settings.port)
    async with supervised(others) as supervisor:
        await eventually(lambda: supervisor.state == "dead", what="a refusal to start")
        assert supervisor.pid is None
        assert not foreign.died.is_set()
        await foreign.stop()
        await eventually(lambda: supervisor.state == "running", what="a start once the port is free")


async def test_a_killed_coturn_is_started_again_and_never_twice(folder: Path) -> None:
    settings = make_settings(folder)
    async with supervised(settings) as supervisor:
        for _ in range(2):
            await eventually(lambda: supervisor.state == "running", what="a running coturn")
            pid = supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda gone=pid: supervisor.pid not in {None, gone}, what="another coturn")  # type: ignore[misc]
            found = processes.coturns_with_config(settings.state_dir / "coturn" / "turnserver.conf", binary="turnserver")
            assert found == [supervisor.pid]


async def test_a_changed_configuration_waits_for_the_old_coturn_to_be_gone(folder: Path) -> None:
    settings = make_settings(folder)
    async with supervised(settings) as supervisor:
        await eventually(lambda: supervisor.state == "running", what="a running coturn")
        before = supervisor.snapshot()
        old = supervisor.pid
        assert old is not None
        supervisor.want((await prepare(settings)).text() + "verbose\n")
        await eventually(lambda: supervisor.state == "running" and supervisor.pid != old, what="another coturn")
        assert not psutil.pid_exists(old)
        assert supervisor.snapshot().boot_id != before.boot_id


async def test_a_program_that_is_missing_is_reported_as_dead(folder: Path) -> None:
    async with supervised(make_settings(folder, coturn_binary="no-such-turnserver")) as supervisor:
        await eventually(lambda: supervisor.state == "dead", what="a report")
