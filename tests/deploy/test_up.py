"""`up` where a stack runs already, and how the supervisor is found and asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.local import control
from deploy.local.control import ControlServer, NotRunning, StackLock, call, find_running
from tests.deploy.programs import dev


@pytest.mark.parametrize("options", [(), ("--detach",)], ids=["foreground", "detached"])
async def test_a_second_up_says_that_one_runs(state: Path, options: tuple[str, ...]) -> None:
    lock = StackLock(state)
    assert lock.take()
    try:
        status, said = await dev("up", "--dir", str(state), *options)
    finally:
        lock.release()
    assert status == 1
    assert f"turnfleet is already up in {state}" in said


async def test_down_and_status_where_nothing_runs(state: Path) -> None:
    assert await dev("down", "--dir", str(state)) == (0, f"nothing runs in {state}\n")
    assert await dev("status", "--dir", str(state)) == (1, f"deploy/dev: nothing runs in {state}\n")


async def test_down_removes_a_ready_json_that_nobody_stands_behind(state: Path) -> None:
    (state / "lock").touch()
    (state / "ready.json").write_text("{}")
    assert (await dev("down", "--dir", str(state)))[0] == 0
    assert not (state / "ready.json").exists()


async def test_down_sweeps_nothing_of_a_supervisor_that_only_begins(state: Path) -> None:
    lock = StackLock(state)
    assert lock.take()
    (state / "ready.json").write_text("{}")
    try:
        status, said = await dev("down", "--dir", str(state))
    finally:
        lock.release()
    assert (status, said) == (1, f"{state} is taken: turnfleet is being started or stopped there\n")
    assert (state / "ready.json").exists()


async def test_asking_about_a_folder_that_does_not_exist_does_not_make_it(state: Path) -> None:
    status, _ = await dev("status", "--dir", str(state / "none"))
    assert status == 1
    assert not (state / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--regions", "eu-central,eu-central"), "none twice"),
        (("--regions", "EU"), "no region slug"),
        (("--port-base", "65400"), "the base must be between"),
    ],
    ids=["twice", "slug", "ports"],
)
async def test_options_that_cannot_work_are_refused(state: Path, arguments: tuple[str, ...], said: str) -> None:
    status, output = await dev("up", "--dir", str(state), *arguments)
    assert status == 2
    assert said in output


async def test_the_supervisor_is_found_and_answers(state: Path) -> None:
    async def answer(command: str, target: str) -> dict[str, Any]:
        return {"said": f"{command} {target}"}

    server = ControlServer(state, answer)
    await server.start()
    running = find_running(state)
    assert await call(running, "stop", "eu-central-1") == {"said": "stop eu-central-1"}
    assert (state / "supervisor.json").stat().st_mode & 0o077 == 0
    await server.stop()
    with pytest.raises(NotRunning):
        find_running(state)


async def test_a_deep_state_folder_still_has_a_socket(state: Path) -> None:
    async def answer(command: str, target: str) -> dict[str, Any]:
        return {}

    deep = state / ("d" * 100)
    deep.mkdir()
    server = ControlServer(deep, answer)
    await server.start()
    running = find_running(deep)
    assert await call(running, "status") == {}
    await server.stop()
    assert not running.socket.parent.exists()


@pytest.fixture
async def failing(state: Path) -> AsyncIterator[ControlServer]:
    async def answer(command: str, target: str) -> dict[str, Any]:
        raise ZeroDivisionError("by nought")

    server = ControlServer(state, answer)
    await server.start()
    yield server
    await server.stop()


async def asked_with(state: Path, question: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(find_running(state).socket))
    writer.write(question)
    try:
        async with asyncio.timeout(20):
            return dict(json.loads(await reader.readline()))
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    "question", [b"", b"up?\n", b"[]\n", b"{}\n", b"x" * 100_000], ids=["silence", "word", "list", "empty", "flood"]
)
async def test_whoever_asks_nothing_sensible_is_told_so(state: Path, question: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "QUESTION_DEADLINE", timedelta(milliseconds=100))
    assert (await asked_with(state, question))["error"].startswith("one line is wanted")


@pytest.mark.usefixtures("failing")
async def test_whoever_asked_for_what_breaks_is_told_why(state: Path) -> None:
    assert await call(find_running(state), "status") == {"error": "ZeroDivisionError: by nought"}


async def test_an_answer_that_never_comes_does_not_hold_up_the_end(state: Path) -> None:
    was_asked = asyncio.Event()

    async def answer(command: str, target: str) -> dict[str, Any]:
        was_asked.set()
        await asyncio.Event().wait()
        return {}

    server = ControlServer(state, answer)
    await server.start()
    asking = asyncio.create_task(call(find_running(state), "status"))
    async with asyncio.timeout(20):
        await was_asked.wait()
        await server.stop()
        with pytest.raises(ConnectionError):
            await asking
