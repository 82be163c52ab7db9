"""Processes: a death is noticed, an orphan is adopted or stopped, and there is never a second coturn."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import msgspec
import psutil
import pytest
from structlog.testing import capture_logs

from agents.coturn import config, process, processes
from agents.coturn import supervisor as supervisor_module
from agents.coturn.certificate import Certificate
from agents.coturn.command_line import CommandLine
from agents.coturn.orphans import adopt_or_stop, port_fault
from agents.coturn.process import BootRecord, Process, watched, write_boot
from agents.coturn.restarts import Restarts
from agents.coturn.supervisor import Supervisor
from agents.errors import CoturnError
from agents.settings import AgentSettings
from agents.usage.lines import log_tag
from tests.agents.places import DISK, LOOPBACK, eventually, make_settings, write_certificate
from tests.agents.relay import Prepared, greeted, prepare, started, suspend


def record(prepared: Prepared, running: Process, *, text: str | None = None) -> BootRecord:
    return BootRecord(
        pid=running.pid,
        start_mark=processes.start_mark(running.pid),
        boot_id="boot-of-before",
        config_digest=config.digest(text or prepared.text()),
        started_at=1.0,
    )


@asynccontextmanager
async def supervised(settings: AgentSettings, *, asked_port: int | None = None) -> AsyncIterator[Supervisor]:
    prepared = await prepare(settings)
    command_line = CommandLine(port=asked_port or settings.cli_port, password=prepared.password)
    supervisor = Supervisor(
        settings=settings,
        folder=prepared.folder,
        owner=prepared.owner,
        command_line=command_line,
        log_tag=log_tag(prepared.password),
        certificate=Certificate(settings, owner=prepared.owner, disk=DISK, on_change=lambda: None),
        restarts=Restarts(settings, node_id="node-1"),
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
    # Polling alone would still be quicker than this; a watch that missed the death would not.
    assert time.monotonic() - began < 1.0
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
    suspend(running.pid)
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
    assert port_fault(LOOPBACK, prepared.settings.port, socket.SOCK_DGRAM) is None


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


@pytest.mark.parametrize("noted", ["pidfile", "record"])
async def test_a_coturn_of_another_configuration_is_left_alone_whatever_our_files_say(folder: Path, noted: str) -> None:
    foreign = await started(await prepare(make_settings(folder / "other")))
    ours = await prepare(make_settings(folder / "ours"))
    ours.write()
    if noted == "pidfile":
        ours.folder.pid_file.write_text(f"{foreign.pid}\n")
    else:
        write_boot(ours.folder.boot, record(ours, foreign))
    assert await looked_for(ours) is None
    assert not foreign.died.is_set()
    await foreign.stop()


def test_the_same_path_in_another_file_system_is_another_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = folder / "turnserver.conf"
    ours.write_text("ours")
    for pid, root in (("10", folder / "container"), ("11", Path("/"))):
        place = folder / "proc" / pid
        place.mkdir(parents=True)
        (place / "cmdline").write_bytes(f"turnserver\0-c\0{ours}\0".encode())
        (place / "root").symlink_to(root)
    theirs = folder / "container" / ours.relative_to("/")
    theirs.parent.mkdir(parents=True)
    (folder / "proc" / "self").mkdir()
    monkeypatch.setattr(processes, "PROC", folder / "proc")
    assert processes.coturns_with_config(ours, binary="turnserver") == [11]
    theirs.write_text("theirs")
    assert processes.coturns_with_config(ours, binary="turnserver") == [11]


async def test_a_signal_that_is_not_ours_to_send_is_told_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    running = watched(os.getpid(), boot_id="b", started_at=0.0, on_death=lambda: None)
    monkeypatch.setattr(signal, "pidfd_send_signal", refused)
    with capture_logs() as told:
        running.signal(signal.SIGUSR2)
    running.close()
    assert [(one["event"], one["signal"]) for one in told] == [("signal_refused", "SIGUSR2")]


async def test_one_that_does_not_end_at_all_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERMINATE_SECONDS", 0.05)
    monkeypatch.setattr(process, "KILL_SECONDS", 0.05)
    monkeypatch.setattr(Process, "signal", lambda *_: None)
    # It is this very test, which lives on.
    running = watched(os.getpid(), boot_id="b", started_at=0.0, on_death=lambda: None)
    with pytest.raises(CoturnError, match="not even by SIGKILL"):
        await running.stop()
    running.close()


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[int]:
    """A TCP server of somebody else."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOOPBACK, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_a_port_is_taken_only_where_somebody_listens() -> None:
    async with listening() as port:
        fault = port_fault(LOOPBACK, port, socket.SOCK_STREAM)
        assert fault is not None
        assert fault.errno == errno.EADDRINUSE
        assert port_fault(LOOPBACK, port, socket.SOCK_DGRAM) is None
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        # The server closes first: its side of the connection lingers under its port.
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert port_fault(LOOPBACK, port, socket.SOCK_STREAM) is None


def test_an_address_that_is_not_of_this_host_is_no_taken_port() -> None:
    fault = port_fault("198.51.100.7", 3478, socket.SOCK_DGRAM)
    assert fault is not None
    assert fault.errno == errno.EADDRNOTAVAIL


async def test_a_foreign_server_on_the_command_lines_port_keeps_coturn_from_starting(folder: Path) -> None:
    settings = make_settings(folder)
    async with listening(settings.cli_port):
        with capture_logs() as told:
            async with supervised(settings) as supervisor:
                await eventually(lambda: supervisor.state == "dead", what="a refusal to start")
                assert supervisor.pid is None
    taken = [one for one in told if one["event"] == "coturn_port_taken"]
    assert (taken[0]["address"], taken[0]["port"], taken[0]["transport"]) == (LOOPBACK, settings.cli_port, "tcp")


async def test_the_tls_port_needs_no_udp(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as foreign:
        foreign.bind((LOOPBACK, settings.tls_port))
        async with supervised(settings) as supervisor:
            await eventually(lambda: supervisor.state == "running", what="a running coturn")


async def test_a_coturn_that_does_not_greet_is_told_once_and_a_changed_configuration_is_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "GREETING_SECONDS", 0.1)
    settings = make_settings(folder)
    with capture_logs() as told:
        async with listening() as port, supervised(settings, asked_port=port) as supervisor:

            def warned() -> int:
                return sum(one["event"] == "coturn_not_greeting" for one in told)

            await eventually(lambda: warned() > 0, what="a warning")
            old = supervisor.pid
            assert old is not None
            supervisor.want((await prepare(settings)).text() + "check-origin-consistency\n")
            await eventually(lambda: supervisor.pid not in {None, old}, what="another coturn")
            await eventually(lambda: warned() > 1, what="a warning about the other one")
    assert [one["port"] for one in told if one["event"] == "coturn_not_greeting"] == [settings.cli_port] * 2


async def test_coturn_is_not_started_over_a_link_in_its_databases_folder(folder: Path) -> None:
    settings = make_settings(folder)
    link = settings.state_dir / "coturn" / "db" / "turndb-journal"
    with capture_logs() as told:
        async with supervised(settings) as supervisor:
            await eventually(lambda: supervisor.state == "running", what="a running coturn")
            link.symlink_to("/etc/hostname")
            pid = supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            refused = "coturn_not_started"
            await eventually(lambda: any(one["event"] == refused for one in told), what="a refusal")
            assert supervisor.pid is None
            link.unlink()
            await eventually(lambda: supervisor.state == "running", what="a start without the link")
    assert "symbolic link" in next(one["reason"] for one in told if one["event"] == refused)


async def test_a_pidfile_that_goes_while_it_is_looked_at_is_looked_for_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def read_pid(_: Path) -> int:
        nonlocal looks
        looks += 1
        return os.getpid()

    monkeypatch.setattr(supervisor_module, "ATTACHED_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(processes, "read_pid", read_pid)
    monkeypatch.setattr(processes, "is_coturn", lambda *_, **__: True)
    settings = make_settings(folder, coturn="attached")
    async with supervised(settings) as supervisor:
        (settings.state_dir / "coturn" / "turn.pid").unlink(missing_ok=True)
        await eventually(lambda: looks > 3, what="more looks")
        assert supervisor.state == "stopped"


async def test_a_certificate_that_was_renewed_without_an_agent_is_served_after_the_adoption(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    prepared = await prepare(settings)
    orphan = await started(prepared)
    command_line = CommandLine(port=settings.cli_port, password=prepared.password)
    await greeted(command_line, orphan)
    await command_line.close()
    write_boot(prepared.folder.boot, msgspec.structs.replace(record(prepared, orphan), started_at=time.time()))
    certificate, _ = write_certificate(folder, name="relay.test")
    os.utime(certificate, (time.time() + 1, time.time() + 1))
    with capture_logs() as told:
        async with supervised(settings) as supervisor:
            await eventually(lambda: supervisor.state == "running", what="an adopted coturn")
            assert supervisor.pid == orphan.pid
            for _ in range(4):
                await supervisor.look_after_files()
            served, deadline = "", time.monotonic() + 10
            while served.split() != certificate.read_text().split():
                assert time.monotonic() < deadline, "the old certificate is still served"
                served = await asyncio.to_thread(ssl.get_server_certificate, (LOOPBACK, settings.tls_port), timeout=2)
    assert [one["event"] for one in told].count("coturn_certificate_reloaded") == 1


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
        supervisor.want((await prepare(settings)).text() + "check-origin-consistency\n")
        await eventually(lambda: supervisor.state == "running" and supervisor.pid != old, what="another coturn")
        assert not psutil.pid_exists(old)
        assert supervisor.snapshot().boot_id != before.boot_id


async def test_a_program_that_is_missing_is_reported_as_dead(folder: Path) -> None:
    async with supervised(make_settings(folder, coturn_binary="no-such-turnserver")) as supervisor:
        await eventually(lambda: supervisor.state == "dead", what="a report")


async def test_a_rotation_that_the_disk_refused_half_way_is_finished_by_the_next_look(folder: Path) -> None:
    async with supervised(make_settings(folder)) as supervisor:
        await eventually(lambda: supervisor.state == "running", what="a running coturn")
        path = folder / "state" / "coturn" / "turn.log"
        path.rename(path.with_name("turn.log.1"))
        assert supervisor.rotate_log(all_read=True)
        assert path.is_file()
