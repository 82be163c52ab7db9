"""A supervised child: ready, crashed, started again, stopped for good."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.process import Process, Program
from deploy.local.service import Service, ServiceFailed, State, ignore
from tests.deploy.programs import DEADLINE, is_gone, until

# Tells that it is up by making a file, and has a child of its own.
OBEDIENT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + OBEDIENT
SHORT = timedelta(milliseconds=300)


def program(folder: Path, source: str, *, stop_deadline: timedelta = DEADLINE) -> Program:
    return Program(
        name="child",
        arguments=(sys.executable, "-c", source, str(folder / "up")),
        log_file=folder / "child.log",
        stop_deadline=stop_deadline,
    )


def service(
    folder: Path,
    source: str = OBEDIENT,
    *,
    said: list[str] | None = None,
    restart: bool = False,
    stop_deadline: timedelta = DEADLINE,
    ready_deadline: timedelta = DEADLINE,
    changed: Callable[[], None] = lambda: None,
) -> Service:
    async def is_up() -> bool:
        return bool((folder / "up").exists() and (folder / "up").read_text())

    return Service(
        lambda: program(folder, source, stop_deadline=stop_deadline),
        ready=is_up,
        ready_deadline=ready_deadline,
        restart=restart,
        say=ignore if said is None else said.append,
        changed=changed,
    )


async def test_a_killed_service_is_started_again_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    one = service(tmp_path, said=said, restart=True)
    await one.start()
    try:
        first = one.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: one.crash_count == 1 and one.state is State.READY)
        assert one.pid not in {None, first}
        assert said[0] == "child was ended by SIGKILL; starting it again in 0.2 s"
        await until(lambda: len(said) == 2)
        assert said[1].startswith("child is up again after")
    finally:
        await one.stop()


async def test_a_service_whose_changes_cannot_be_recorded_is_still_watched(tmp_path: Path) -> None:
    def changed() -> None:
        raise OSError("no space left on device")

    said: list[str] = []
    one = service(tmp_path, said=said, restart=True, changed=changed)
    await one.start()
    try:
        first = one.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: one.pid not in {None, first} and one.state is State.READY)
        assert "child is crashed, which could not be recorded: no space left on device" in said
    finally:
        await one.stop()
    assert one.pid is None


async def test_a_service_that_cannot_even_be_described_is_tried_again(tmp_path: Path) -> None:
    refused = [PermissionError("its folder is gone")]

    async def is_up() -> bool:
        return (tmp_path / "up").exists()

    def described() -> Program:
        if one is not None and one.crash_count and refused:
            raise refused.pop()
        return program(tmp_path, OBEDIENT)

    said: list[str] = []
    one: Service | None = None
    one = Service(described, ready=is_up, ready_deadline=DEADLINE, restart=True, say=said.append)
    await one.start()
    try:
        os.kill(one.pid or 0, signal.SIGKILL)
        await until(lambda: one.crash_count == 2 and one.state is State.READY)
        assert "child could not be started again: PermissionError: its folder is gone" in said
    finally:
        await one.stop()


async def test_an_exit_is_seen_where_the_kernel_gives_no_handle_on_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_pid: int) -> int:
        raise PermissionError("refused by a filter")

    monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    async with asyncio.timeout(DEADLINE.total_seconds()):
        assert await Process(program(tmp_path, "raise SystemExit(7)")).exited() == 7


async def test_stop_leaves_no_process_of_the_group(tmp_path: Path) -> None:
    one = service(tmp_path, restart=True)
    await one.start()
    pid, grandchild = one.pid, int((tmp_path / "up").read_text())
    await one.stop()
    assert one.state is State.STOPPED
    assert one.pid is None
    assert pid is not None
    await until(lambda: is_gone(pid) and is_gone(grandchild))


async def test_a_service_that_ignores_the_request_is_killed_after_its_deadline(tmp_path: Path) -> None:
    one = service(tmp_path, STUBBORN, stop_deadline=SHORT)
    await one.start()
    grandchild = int((tmp_path / "up").read_text())
    await one.stop()
    assert one.pid is None
    await until(lambda: is_gone(grandchild))


async def test_a_paused_service_can_be_stopped(tmp_path: Path) -> None:
    one = service(tmp_path)
    await one.start()
    one.pause()
    await one.stop()
    assert one.pid is None


async def test_a_held_service_stays_dead(tmp_path: Path) -> None:
    one = service(tmp_path, restart=True)
    await one.start()
    await one.stop_abruptly()
    os.kill(int((tmp_path / "up").read_text()), signal.SIGKILL)
    assert one.pid is None
    assert one.state is State.STOPPED
    assert one.crash_count == 0


async def test_a_service_that_ends_before_it_is_ready_shows_the_end_of_its_log(tmp_path: Path) -> None:
    one = service(tmp_path, "print('no such table'); raise SystemExit(7)")
    with pytest.raises(ServiceFailed, match=r"child exited with status 7 before it was ready.*\n    no such table"):
        await one.start()
    assert one.pid is None


async def test_a_service_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    one = service(tmp_path, "import time; time.sleep(600)", ready_deadline=SHORT)
    with pytest.raises(ServiceFailed, match="was not ready after 0 s"):
        await one.start()
    assert one.pid is None


async def test_a_program_that_does_not_exist_is_a_failed_service(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    ready: Callable[[], Awaitable[bool]] = never
    missing = Program(name="missing", arguments=("/no/such/program",), log_file=tmp_path / "log")
    one = Service(lambda: missing, ready=ready, ready_deadline=SHORT)
    with pytest.raises(ServiceFailed, match="missing could not be executed"):
        await one.start()


async def test_a_child_makes_files_that_others_can_read_whatever_our_umask(tmp_path: Path, strict_umask: None) -> None:
    assert await Process(program(tmp_path, "import sys; open(sys.argv[1], 'w')")).exited() == 0
    assert (tmp_path / "up").stat().st_mode & 0o777 == 0o644


async def test_a_child_does_not_see_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere.example")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    show = Program(
        name="env",
        arguments=(sys.executable, "-c", "import os; print(sorted(os.environ))"),
        log_file=tmp_path / "log",
        environment={"GIVEN": "yes"},
    )
    assert await Process(show).exited() == 0
    seen = (tmp_path / "log").read_text()
    assert "GIVEN" in seen
    assert "PGHOST" not in seen
    assert "'HTTP_PROXY'" not in seen
