"""The fleet on one screen, and watching it through an API that is restarted."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.running_cli import Cli, cli_for
from tests.client.used_api import Used
from tests.running_api import SimulatedNode, running_api, until


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


async def test_the_fleet_is_on_one_screen(operator: Cli, used: Used) -> None:
    shown = await operator("status", COLUMNS="100")
    told = (await operator("status", "--json")).json()
    assert shown.status == any(each["severity"] == "critical" for each in told["problems"]), shown.err
    assert f"{told['totals']['operational_regions']} of {told['totals']['regions']} take new clients" in shown.out
    assert "eu-central" in shown.out
    assert "known faults" in shown.out, "the node says that its coturn is 4.6.1"
    assert max(len(line.rstrip()) for line in shown.lines) <= 100
    assert (await cli_for(used.api, Path("/nonexistent"))("status")).status == 3


async def test_a_region_is_shown_with_its_nodes(operator: Cli) -> None:
    shown = (await operator("region", "show", "eu-central", "--json")).json()
    assert shown["region"]["slug"] == "eu-central"
    assert [node["name"] for node in shown["nodes"]] == ["eu-1"]
    assert [each["id"] for each in shown["nodes"][0]["coturn_advisories"]] == ["CVE-2026-27624", "CVE-2026-40613"]
    missing = await operator("region", "show", "atlantis")
    assert (missing.status, "there are:" in missing.err) == (4, True)


class Watching:
    """A command that goes on, and what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.written = ""

    async def wrote(self, condition: Callable[[str], bool]) -> None:
        async def has() -> bool:
            return condition(self.written)

        await until(has, within_seconds=30, what="the command writes it")

    async def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), 20)


@asynccontextmanager
async def watching(environment: dict[str, str], *arguments: str, terminal: bool) -> AsyncIterator[Watching]:
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TZ": "UTC", "TERM": "xterm", **environment},
    )
    os.close(theirs)
    made = Watching(process)

    async def read() -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # a terminal whose other side is gone
            while piece := await loop.run_in_executor(None, os.read, ours, 65_536):
                made.written += piece.decode(errors="replace")

    reading = asyncio.create_task(read())
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "terminal"),
    [(("status", "--watch"), True), (("node", "list", "--watch", "--json"), False)],
    ids=["terminal", "pipe"],
)
async def test_it_is_watched_through_a_restart_until_ctrl_c(
    database_url: str, redis_url: str, folder: Path, arguments: tuple[str, ...], terminal: bool
) -> None:
    async with running_api(database_url, redis_url, folder) as api:
        await api.put_region("eu-central")
        await SimulatedNode(api, "eu-7", "eu-central").join()
        seen, operator = "eu-central", cli_for(api, folder, "operator")
        await until(lambda: _is_critical(operator), what="its one node never reported: nobody is served there")
        region = await operator("region", "show", "eu-central", COLUMNS="80")
        assert (region.status, "eu-7" in region.out, "critical" in region.out) == (0, True, True)
        async with (
            watching(operator.environment, *arguments, terminal=terminal) as command,
            watching(operator.environment, "region", "roll", "eu-central", "--yes", terminal=False) as rolling,
        ):
            await command.wrote(lambda text: text.count(seen) >= 2)
            await rolling.wrote(lambda text: "may be out of service" in text)
            await api.kill()
            await command.wrote(lambda text: "Not reachable since" in text)
            await rolling.wrote(lambda text: "Not reachable since" in text)
            await api.start()
            (line,) = (await operator("region", "rolls", "--json")).json_lines()
            assert (await operator("region", "roll-stop", line["roll_id"])).status == 0
            await rolling.wrote(lambda text: "the roll is stopped" in text)
            assert await asyncio.wait_for(rolling.process.wait(), 20) == 1
            gone = command.written.rindex("Not reachable since")
            await command.wrote(lambda text: text.rindex(seen) > max(gone, text.rindex("Not reachable since")))
            assert await command.end() == 0
        assert "Traceback" not in command.written
        assert ("\x1b[" in command.written) is terminal


async def _is_critical(operator: Cli) -> bool:
    shown = await operator("status", COLUMNS="80")
    return shown.status == 1 and "critical  eu-central" in shown.out


async def test_what_is_not_allowed_is_not_watched(used: Used, folder: Path) -> None:
    ended = await cli_for(used.api, folder)("node", "list", "--watch")
    assert ended.status == 3
