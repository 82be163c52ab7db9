"""A real stack, started, asked, hurt and ended by the commands that everybody uses."""

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.local.control import find_running
from deploy.local.layout import StackOptions
from deploy.local.ports import HOST, reserve_ports
from tests.deploy.programs import dev, until

# Of ready.json, as docs/development.md promises it.
FIELDS = {
    "api_url": str,
    "console_url": str,
    "metrics_url": str,
    "ca_file": str,
    "project_token": str,
    "organization_token": str,
    "operator_token": str,
    "redis_url": str,
    "database_url": str,
    "regions": list,
    "nodes": list,
    "pids": dict,
}
NODE_FIELDS = {
    "node_id": str,
    "region": str,
    "host": str,
    "port": int,
    "tls_port": int,
    "metrics_url": str,
    "realm": str,
    "coturn_pid": int,
    "agent_pid": int,
}


class Place:
    """Where a stack runs, and the commands that are about it."""

    def __init__(self, state: Path, port_base: int) -> None:
        self.state = state
        self.port_base = port_base

    async def up(self, *, umask: int = -1) -> tuple[int, str]:
        return await dev("up", "--detach", "--dir", str(self.state), "--port-base", str(self.port_base), umask=umask)

    async def ask(self, command: str, *arguments: str) -> tuple[int, str]:
        return await dev(command, *arguments, "--dir", str(self.state))

    @property
    def ready_file(self) -> Path:
        return self.state / "ready.json"

    def ready(self) -> dict[str, Any]:
        return dict(json.loads(self.ready_file.read_text()))

    def node(self) -> dict[str, Any]:
        return dict(self.ready()["nodes"][0])

    def supervisor(self) -> psutil.Process:
        return psutil.Process(find_running(self.state).pid)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this stack."""
        supervisor = self.supervisor()
        return [supervisor, *supervisor.children(recursive=True)]

    def named_in_command_lines(self) -> list[list[str]]:
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        return [line for line in lines if any(str(self.state) in word for word in line)]


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def place(state: Path) -> Iterator[Place]:
    with reserve_ports(StackOptions(state=state).ports.count) as ports:
        yield Place(state, ports.base)


async def test_a_stack_comes_up_mends_itself_obeys_and_leaves_nothing(place: Place) -> None:
    # The strictest umask there is: relays and PostgreSQL run under accounts of their own.
    began = time.monotonic()
    status, said = await place.up(umask=0o077)
    print(f"up after {time.monotonic() - began:.1f} s")
    try:
        assert status == 0, said
        check_ready(place)

        status, said = await place.up()
        assert status == 1
        assert f"turnfleet is already up in {place.state} (pid {place.supervisor().pid})" in said

        (killed,) = place.ready()["pids"]["api"]
        psutil.Process(killed).kill()
        await until(lambda: place.ready()["pids"]["api"] not in ([], [killed]))
        (api,) = place.ready()["pids"]["api"]
        log = (place.state / "supervisor.log").read_text
        assert "api was ended by SIGKILL; starting it again in" in log()
        await until(lambda: f"(pid {api})" in log())

        before = place.node()
        status, said = await place.ask("stop", "eu-central-1")
        assert (status, said) == (0, "eu-central-1 is stopped until: start eu-central-1\n")
        assert not psutil.pid_exists(before["coturn_pid"])
        await until(lambda: place.node() == before | {"coturn_pid": None, "agent_pid": None})
        status, said = await place.ask("start", "eu-central-1")
        assert status == 0, said
        await until(lambda: None not in place.node().values())
        assert place.node()["coturn_pid"] != before["coturn_pid"]

        processes = place.processes()
        assert len(processes) > len(FIELDS)
    finally:
        status, said = await place.ask("down")
    assert status == 0
    assert said.startswith("stopped (")
    check_nothing_left(place, processes)


async def test_what_a_killed_supervisor_leaves_behind_is_ended_by_down(place: Place) -> None:
    status, said = await place.up()
    try:
        assert status == 0, said
        supervisor, *parts = place.processes()
        supervisor.send_signal(signal.SIGKILL)
        await until(lambda: not runs(supervisor))
        assert place.ready_file.exists()
        assert all(runs(psutil.Process(pid)) for pid in place.ready()["pids"]["api"])
    finally:
        status, said = await place.ask("down")
    assert status == 0
    assert "ending what an earlier run left behind" in said
    check_nothing_left(place, parts)


def check_ready(place: Place) -> None:
    ready = place.ready()
    assert stat.S_IMODE(place.ready_file.stat().st_mode) == 0o600
    assert {name: type(value) for name, value in ready.items()} == FIELDS
    assert list(ready) == list(FIELDS)
    assert ready["api_url"] == f"http://{HOST}:{place.port_base}"
    assert ready["regions"] == ["eu-central", "us-east"]
    assert [node["region"] for node in ready["nodes"]] == ready["regions"]
    for node in ready["nodes"]:
        assert {name: type(value) for name, value in node.items()} == NODE_FIELDS
        assert psutil.Process(node["coturn_pid"]).name() == "turnserver"
        assert "agents" in psutil.Process(node["agent_pid"]).cmdline()
        assert "\nturnfleet_agent_coturn_up 1.0\n" in httpx.get(node["metrics_url"], trust_env=False).text
    pids = ready["pids"]
    assert list(pids) == ["api", "jobs", "redis", "postgres"]
    for pid, program in ((pids["api"][0], "controlplane"), (pids["jobs"], "jobs"), (pids["postgres"], str(place.state))):
        assert any(program in word for word in psutil.Process(pid).cmdline())
    assert len(pids["api"]) == 1
    assert str(place.port_base + 3) in " ".join(psutil.Process(pids["redis"]).cmdline())


def check_nothing_left(place: Place, processes: list[psutil.Process]) -> None:
    assert [process for process in processes if runs(process)] == []
    assert place.named_in_command_lines() == []
    assert not place.ready_file.exists()
