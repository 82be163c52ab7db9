"""turnfleet events: the list, and the tail through an API that is restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.running_cli import Cli, cli_for
from tests.client.scripted_server import answer, scripted
from tests.client.used_api import Used
from tests.event_log import connected, write
from tests.running_api import RunningApi, running_api, until


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


@asynccontextmanager
async def tailing(environment: dict[str, str], *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", "events", "tail", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "TZ": "UTC", **environment},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(20):
        return (await stream.readline()).decode().rstrip("\n")


async def follows(api: RunningApi) -> bool:
    return "turnfleet_event_streams 1.0" in (await api.client.get(api.metrics_url)).text


async def test_what_happened_is_listed(operator: Cli, used: Used) -> None:
    items = (await used.api.client.get("/api/v1/fleet/events?node=eu-1", headers=used.api.bearer("operator"))).json()["items"]
    assert items, "the jobs told that the node is up"
    ended = await operator("events", "list", "--node", "eu-1", "--json")
    assert ended.json_lines() == items
    assert (await operator("node", "events", "eu-1", "--json")).json_lines() == items
    shown = await operator("events", "list", "--kind", "node.health", "--region", "eu-central", COLUMNS="100")
    assert "eu-1" in shown.out
    assert "BECAME" in shown.out
    assert (await operator("events", "list", "--until", "2020-01-01")).err == "Nothing found.\n"
    assert (await cli_for(used.api, Path("/nonexistent"))("events", "list")).status == 3


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_tail_goes_on_through_a_restart_until_ctrl_c(
    database_url: str, redis_url: str, folder: Path, as_json: bool
) -> None:
    async with running_api(database_url, redis_url, folder) as api, connected(database_url) as database:
        environment = cli_for(api, folder, "operator").environment
        options = ["--region", "eu-central", *(["--json"] if as_json else [])]
        async with tailing(environment, *options) as tail:
            await until(lambda: follows(api), what="the tail is connected")
            await write(database, region="elsewhere")
            await write(database, detail="one \x1b[31m \u202e")
            first = await line_of(tail.stdout)
            if as_json:
                assert json.loads(first)["detail"] == "one \x1b[31m \u202e"
            else:
                at, kind, where, change, reason, detail = first.split("  ")
                assert at.endswith(" UTC")
                assert (kind, where, change, reason) == ("node.health", "eu-central", "up → down", "lease_expired")
                assert detail == "one \N{REPLACEMENT CHARACTER}[31m \N{REPLACEMENT CHARACTER}"
            await api.stop()
            await write(database, detail="two")
            assert "It is tried again." in await line_of(tail.stderr)
            await api.start()
            await write(database, detail="three")
            assert "two" in await line_of(tail.stdout)
            assert "three" in await line_of(tail.stdout)
            tail.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(tail.communicate(), 10)
            assert (tail.returncode, out, err) == (0, b"", b"")


async def test_missed_events_are_said_and_it_goes_on(folder: Path) -> None:
    reload = 'retry: 1\nevent: reload\nid: 90\ndata: {"reason":"too_slow","detail":"Too slow."}\n\n'
    head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n"
    reply = f"{head}content-length: {len(reload)}\r\n\r\n{reload}".encode()
    async with scripted(reply, answer(status=401)) as server:
        ended = await Cli(environment={"TURNFLEET_CLIENT_URL": server.url, "TURNFLEET_CLIENT_TOKEN": "tfx_a", "HOME": str(folder)})(
            "events", "tail"
        )
    assert ended.status == 3
    assert ended.err.startswith("Some events are not shown. Too slow.")
    assert "last-event-id: 90\r\n" in server.requests[1].lower()
