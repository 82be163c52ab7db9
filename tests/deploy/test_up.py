"""`up` where a stack runs already, what ready.json holds, and how the supervisor is found and asked."""

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.control import ControlServer, NotRunning, StackLock, call, find_running
from deploy.local.layout import CHECKOUT, StackOptions
from deploy.local.ports import reserve_ports
from deploy.local.stack import Stack


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder that PostgreSQL's account can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-state-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def dev(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.local",
        *arguments,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


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


async def test_ready_json_has_exactly_the_promised_keys(state: Path) -> None:
    with reserve_ports(StackOptions(state=state).ports.count) as ports:
        stack = Stack(StackOptions(state=state, port_base=ports.base))
        stack.tokens = {"project_token": "p", "organization_token": "o", "operator_token": "x"}
        document = stack.ready_document()
    assert list(document) == [
        "api_url",
        "console_url",
        "metrics_url",
        "ca_file",
        "project_token",
        "organization_token",
        "operator_token",
        "redis_url",
        "database_url",
        "regions",
        "nodes",
        "pids",
    ]
    assert document["api_url"] == f"http://127.0.0.1:{ports.base}"
    assert document["regions"] == ["eu-central", "us-east"]
    assert [list(node) for node in document["nodes"]] == 2 * [
        ["node_id", "region", "host", "port", "tls_port", "realm", "coturn_pid", "agent_pid"]
    ]
    assert document["pids"] == {"api": [], "jobs": None, "redis": None, "postgres": None}


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
