"""Rolling a region from the command line, and what it says meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.running_cli import Cli, cli_for
from tests.client.used_api import Used
from tests.running_api import SimulatedNode, until


@pytest.fixture
def operator(used: Used, folder: Path) -> Cli:
    return cli_for(used.api, folder, "operator")


async def region_of(used: Used, slug: str, *names: str) -> None:
    """Of nodes that never report."""
    await used.api.put_region(slug)
    for name in names:
        await SimulatedNode(used.api, name, slug).join()


async def test_it_says_each_step_and_ends_with_the_roll(operator: Cli, used: Used) -> None:
    await region_of(used, "rolled", "rolled-1")
    assert (await operator("node", "cordon", "rolled-1", "--reason", "mine")).status == 0
    # All of a region at a time is something to think about.
    asked = await operator("region", "roll", "rolled")
    assert (asked.status, "Take all of rolled (rolled-1) out of service" in asked.err) == (2, True)
    ended = await operator("region", "roll", "rolled", "--yes", "--reason", "4.7", "--deadline", "10min")
    assert ended.status == 0, ended.err
    first, step, last = ended.err.splitlines()
    assert first.endswith("of 1 nodes, at most 1 at a time.")
    assert step == "rolled-1: skipped. It was cordoned (mine) before, and is left so."
    assert last == "rolled: the roll is finished; 0 of 1 nodes done, 1 skipped, 0 failed."
    (line,) = (await operator("region", "rolls", "--region", "rolled", "--json")).json_lines()
    assert (line["state"], line["reason"], line["deadline_seconds"], line["skipped"]) == ("finished", "4.7", 600, 1)
    shown = (await operator("region", "roll", "rolled", "--yes", "--json")).json()
    assert (shown["state"], shown["steps"][0]["step"]) == ("finished", "skipped")


async def test_one_that_is_stopped_ends_with_1_and_can_be_resumed(operator: Cli, used: Used) -> None:
    await region_of(used, "waiting", "waiting-1", "waiting-2")
    waiting = asyncio.create_task(operator("region", "roll", "waiting", "--no-force"))

    async def runs() -> bool:
        answer = await used.api.client.get(
            "/api/v1/fleet/rolls", headers=used.api.bearer("operator"), params={"region": "waiting", "state": "running"}
        )
        found.extend(each["roll_id"] for each in answer.json()["items"])
        return bool(found)

    found: list[str] = []
    await until(runs, what="the roll runs")
    body = {"reason": "lunch"}
    await used.api.client.post(f"/api/v1/fleet/rolls/{found[0]}/stop", headers=used.api.bearer("operator"), json=body)
    ended = await waiting
    assert ended.status == 1
    assert ended.err.splitlines()[-1] == "waiting: the roll is stopped; 0 of 2 nodes done, 0 skipped, 0 failed. lunch"
    assert found[0] in (await operator("region", "rolls", "--state", "stopped")).out
    resumed = await operator("region", "roll-resume", found[0], "--no-wait")
    assert (resumed.status, found[0] in resumed.err) == (0, True)
    assert (await operator("region", "roll", "waiting", "--no-wait")).status == 1
    stopped = await operator("region", "roll-stop", found[0], "--json")
    assert stopped.json()["state"] == "stopped"
    assert (await operator("region", "roll-stop", "nonsense")).status == 4
    assert (await operator("region", "roll", "nowhere")).status == 4
