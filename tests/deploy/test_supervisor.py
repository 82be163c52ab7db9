"""Whatever becomes of the terminal, of a watcher or of a request: the end of a stack ends its parts."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.layout import CHECKOUT, StackOptions
from deploy.local.logs import LogFollower
from deploy.local.ports import reserve_ports
from deploy.local.service import State
from deploy.local.stack import Stack, StackFailed
from tests.deploy.programs import DEADLINE, until

# A foreground `up` on a terminal of its own, whose stack only tells of its end.
FOREGROUND = """
import asyncio, os, pathlib, signal, sys
from deploy.local import supervisor
from deploy.local.layout import StackOptions

state = pathlib.Path(sys.argv[1])
# As a shell on that terminal would start it: whoever runs the tests under nohup has it ignored, for all its children.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.open(os.ttyname(0), os.O_RDWR)

class Stack:
    ready = {"nodes": [], "regions": ["a"], "api_url": "", "project_token": "", "operator_token": ""}
    def __init__(self, options, *, lost):
        pass
    async def start(self):
        (state / "log").mkdir()
        (state / "log" / "api.log").touch()
    async def stop(self):
        (state / "stopped").touch()

supervisor.Stack = Stack
sys.exit(asyncio.run(supervisor.Supervisor(StackOptions(state=state), ready_descriptor=None, show_logs=True).run()))
"""


@pytest.fixture
def stack(state: Path) -> Iterator[Stack]:
    """One of which nothing runs yet."""
    with reserve_ports(StackOptions(state=state).ports.count) as ports:
        said: list[str] = []
        one = Stack(StackOptions(state=state, port_base=ports.base, say=said.append))
        one.tokens = {"project_token": "p", "organization_token": "o", "operator_token": "x"}
        yield one


async def test_a_closed_terminal_ends_the_stack(state: Path) -> None:
    terminal, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FOREGROUND,
        str(state),
        cwd=CHECKOUT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = b""
        while b"turnfleet is ready" not in shown:
            shown += await asyncio.to_thread(os.read, terminal, 4096)
        os.close(terminal)
        async with asyncio.timeout(DEADLINE.total_seconds()):
            assert await process.wait() == 0
        assert (state / "stopped").exists()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_terminal_cannot_show_is_said_in_other_signs(encoding: str) -> None:
    source = "from deploy.local.supervisor import say; say('stopping …')"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", source], cwd=CHECKOUT, env=environment, capture_output=True, check=True)
    assert done.stdout.decode(encoding).startswith("stopping ")


def test_a_log_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.mkdir()
    follower = LogFollower({"api": log}, from_end=False)
    assert follower.new_lines() == []
    log.rmdir()
    log.write_text("x" * 8192 + "\n")
    assert follower.new_lines() == [("api", "x" * 8192)]


async def test_a_watcher_that_died_does_not_keep_the_parts_from_being_ended(stack: Stack) -> None:
    async def fail() -> None:
        raise psutil.AccessDenied(1)

    await stack.parts.redis.start()
    pid = stack.parts.redis.pid
    stack._watcher = asyncio.create_task(fail())
    await asyncio.wait({stack._watcher})
    await stack.stop()
    assert stack.parts.redis.pid is None
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_the_watcher_says_what_it_cannot_read_once_and_goes_on(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    stack._say = said.append
    troubles = [psutil.AccessDenied(1), psutil.AccessDenied(1), OSError("no space left on device")]
    document = stack.ready_document

    def troubled() -> dict[str, Any]:
        if troubles:
            raise troubles.pop(0)
        return document()

    monkeypatch.setattr(stack, "ready_document", troubled)
    watcher = asyncio.create_task(stack._watch_nodes())
    try:
        await until(stack.options.ready_file.exists)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    assert len(said) == 2
    assert said[1] == "ready.json may name processes that no longer run: no space left on device"


async def test_a_start_that_waits_its_turn_launches_nothing_after_the_end(stack: Stack) -> None:
    """The first start is cut short, the second never begins."""
    stack.parts.redis.service._ready = never
    first = asyncio.create_task(stack.start_part("redis"))
    second = asyncio.create_task(stack.start_part("jobs"))
    await until(lambda: stack.parts.redis.service.state is State.STARTING)
    async with asyncio.timeout(DEADLINE.total_seconds()):
        await stack.stop()
        for start in (first, second):
            with pytest.raises(StackFailed, match="everything is being stopped"):
                await start
    assert set(stack.parts.pids.values()) == {None}
    with pytest.raises(StackFailed):
        await stack.start_part("redis")
    assert stack.parts.redis.pid is None


async def never() -> bool:
    return False


def test_a_reader_that_went_away_is_no_error() -> None:
    source = "from deploy.local.supervisor import say; say('one'); say('two')"
    ours, theirs = os.pipe()
    os.close(ours)
    with contextlib.closing(os.fdopen(theirs, "w")) as gone:
        assert subprocess.run([sys.executable, "-c", source], cwd=CHECKOUT, stdout=gone, check=False).returncode == 0
