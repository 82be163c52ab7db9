"""What applications see when a coturn or an agent dies, and when it comes back. One node per region, so a node is its region."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application, Watch
from tests.running_api import until

DOWN = "region_down"
EU_FIXED = "eu-central fixed"


class Onlooker:
    """Asks all the while for both regions and the fallback, as three applications would."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.fixed = Watch(application, fixed_region="eu-central")
        self.other = Watch(application, fixed_region="us-east")
        self.preferred = Watch(application, preferred_region="eu-central")

    async def sees(self, *, fixed: str, within_seconds: float) -> float:
        """Seconds until the fixed region answers so. The other region never fails meanwhile."""
        for watch in (self.fixed, self.other, self.preferred):
            watch.restart_clock()

        async def look() -> bool:
            code = await self.fixed.look()
            assert await self.other.look() == "us-east fixed"
            assert await self.preferred.look() in {"eu-central preferred", "us-east fallback"}
            return code == fixed

        return await until(look, within_seconds=within_seconds, what=f"fixed_region answers {fixed}")

    async def falls_back(self) -> None:
        assert await self.preferred.look() == "us-east fallback"

    async def returns(self) -> float:
        """Until the region serves again, and really relays."""
        took = await self.sees(fixed=EU_FIXED, within_seconds=30)
        await self.application.relay(await self.application.turn_server("udp", fixed_region="eu-central"))

        async def preferred() -> bool:
            return await self.preferred.look() == "eu-central preferred"

        await until(preferred, within_seconds=5)
        return took


@pytest_asyncio.fixture(loop_scope="session")
async def onlooker(stack: Stack) -> AsyncIterator[Onlooker]:
    application = Application(stack)
    onlooker = Onlooker(application)
    try:
        await onlooker.sees(fixed=EU_FIXED, within_seconds=20)
        yield onlooker
    finally:
        await application.client.aclose()


def coturn_pid(stack: Stack) -> int:
    pid = stack.nodes["eu-central-1"].coturn_pid
    assert pid is not None
    return pid


async def test_a_killed_coturn_is_out_within_6_seconds_and_returns_by_itself(stack: Stack, onlooker: Onlooker) -> None:
    killed = coturn_pid(stack)
    os.kill(killed, signal.SIGKILL)
    assert await onlooker.sees(fixed=DOWN, within_seconds=6) < 6
    await onlooker.falls_back()
    await onlooker.returns()
    assert coturn_pid(stack) != killed


async def test_a_stopped_coturn_that_still_accepts_tcp_is_out_within_15_seconds(stack: Stack, onlooker: Onlooker) -> None:
    stopped = coturn_pid(stack)
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert await onlooker.sees(fixed=DOWN, within_seconds=15) < 15
        node = await onlooker.application.node("eu-central")
        assert node["health_reason"] == "probe_failed"
        await onlooker.falls_back()
    finally:
        os.kill(stopped, signal.SIGCONT)
    await onlooker.returns()
    assert coturn_pid(stack) == stopped


async def test_a_killed_agent_loses_its_lease_and_its_successor_adopts_the_coturn(stack: Stack, onlooker: Onlooker) -> None:
    kept = coturn_pid(stack)
    await stack.stop_part("eu-central-1:agent")
    assert await onlooker.sees(fixed=DOWN, within_seconds=16) < 16
    node = await onlooker.application.node("eu-central")
    assert node["health_reason"] == "lease_expired"
    await onlooker.falls_back()
    await stack.start_part("eu-central-1")
    await onlooker.returns()
    assert coturn_pid(stack) == kept


async def test_a_node_that_is_stopped_on_purpose_says_goodbye(stack: Stack, onlooker: Onlooker) -> None:
    await stack.stop_part("eu-central-1")
    assert stack.nodes["eu-central-1"].coturn_pid is None
    assert await onlooker.sees(fixed=DOWN, within_seconds=3) < 3
    assert (await onlooker.application.node("eu-central"))["health_reason"] == "goodbye"
    await stack.start_part("eu-central-1")
    await onlooker.returns()


async def test_the_control_plane_restarts_without_touching_a_relay(stack: Stack, onlooker: Onlooker) -> None:
    before = coturn_pid(stack)
    await stack.stop_part("api")
    await stack.start_part("api")
    await onlooker.returns()
    assert coturn_pid(stack) == before
