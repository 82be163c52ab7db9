"""A region is restarted node after node under clients that call all the while: nobody fails to get an allocation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application
from tests.e2e.callers import TTL_SECONDS, calling
from tests.e2e.fresh_stack import fresh_stack
from tests.running_api import until

REGION = "eu-central"


class Operator:
    def __init__(self, application: Application) -> None:
        self._client = application.client
        self._headers = {"authorization": f"Bearer {application.stack.ready['operator_token']}"}

    async def roll(self, **body: Any) -> str:
        path = f"/api/v1/fleet/regions/{REGION}/roll"
        answer = await self._client.post(path, headers=self._headers, json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["roll_id"])

    async def show(self, roll_id: str) -> dict[str, Any]:
        return dict((await self._client.get(f"/api/v1/fleet/rolls/{roll_id}", headers=self._headers)).json())

    async def step(self, roll_id: str, *steps: str) -> str:
        """The name of a node that is in such a step, once there is one."""
        found = ""

        async def there() -> bool:
            nonlocal found
            shown = await self.show(roll_id)
            assert shown["state"] == "running", shown
            found = next((each["name"] for each in shown["steps"] if each["step"] in steps), "")
            return bool(found)

        await until(there, within_seconds=60, what=f"a node is {steps}")
        return found

    async def ended(self, roll_id: str) -> dict[str, Any]:
        async def over() -> bool:
            return bool((await self.show(roll_id))["state"] != "running")

        await until(over, within_seconds=150, what="the roll ends")
        return await self.show(roll_id)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    async with fresh_stack(regions=(REGION,), nodes_per_region=2) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


def coturns(stack: Stack) -> dict[str, int | None]:
    return {name: node.status()["coturn_pid"] for name, node in stack.nodes.items()}


async def kill_jobs(stack: Stack) -> None:
    pid = stack.ready["pids"]["jobs"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: _is_gone(pid), what="the jobs' process is gone")
    await stack.start_part("jobs")


async def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def test_a_region_is_restarted_and_nobody_is_refused_although_the_leader_is_killed(
    stack: Stack, application: Application
) -> None:
    operator, before = Operator(application), coturns(stack)
    async with calling(application, REGION) as callers:
        began = time.monotonic()
        roll_id = await operator.roll(reason="a newer coturn", deadline_seconds=TTL_SECONDS + 2)
        await operator.step(roll_id, "restarting", "verifying")
        await kill_jobs(stack)
        shown = await operator.ended(roll_id)
        took = time.monotonic() - began
    print(
        f"\n{shown['nodes']} nodes in {took:.0f} s, {callers.allocations} allocations, "
        f"second tries {callers.second_tries}, {len(callers.failed)} failed"
    )
    assert (shown["state"], shown["done"]) == ("finished", 2), shown
    assert callers.failed == []
    assert callers.allocations > 20
    after = coturns(stack)
    assert all(after[name] not in {None, before[name]} for name in before), "every coturn is another one"


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_three_rolls_with_agents_and_leaders_killed_refuse_nobody(stack: Stack, application: Application) -> None:
    operator = Operator(application)
    async with calling(application, REGION) as callers:
        for step in ("draining", "restarting", "verifying"):
            roll_id = await operator.roll(deadline_seconds=30)
            name = await operator.step(roll_id, step)
            await kill_jobs(stack)
            await stack.stop_part(f"{name}:agent")  # it is killed
            await stack.start_part(f"{name}:agent")
            ended = await operator.ended(roll_id)
            assert ended["state"] == "finished", ended
    print(f"\n{callers.allocations} allocations, {len(callers.second_tries)} second tries, {len(callers.failed)} failed")
    assert callers.failed == []
