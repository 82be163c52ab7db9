"""Rotations on a real coturn, under load: every credential that was handed out is taken until it expires."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application, server_of
from tests.e2e.callers import Callers, calling
from tests.running_api import until

REGION = "us-east"


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


async def signing(application: Application) -> int:
    return int((await application.node(REGION))["signing_version"] or 0)


async def rotate(application: Application, times: int) -> Callers:
    async with calling(application, REGION) as callers:
        for _ in range(times):
            before = await signing(application)
            await application.operate(REGION, "secrets/rotate")

            async def signs() -> bool:
                return await signing(application) > before  # noqa: B023 - awaited within this turn

            async def one_is_left() -> bool:
                return bool((await application.node(REGION))["secret_versions"] == [before + 1])  # noqa: B023 - as above

            await until(signs, what="the new version signs")
            await until(one_is_left, within_seconds=90, what="the old version is retired")
    return callers


async def test_a_rotation_under_load_refuses_nobody(application: Application) -> None:
    callers = await rotate(application, 1)
    assert callers.refused == []
    assert len(callers.unanswered) <= 1
    assert callers.allocations > 20


@pytest.mark.full
@pytest.mark.timeout(2400)
async def test_twenty_rotations_under_load_refuse_nobody(application: Application) -> None:
    callers = await rotate(application, 20)
    print(f"\n20 rotations, {callers.allocations} allocations, second tries {callers.second_tries}, {len(callers.refused)} refused")
    assert callers.refused == []
    assert len(callers.unanswered) <= 3


async def test_an_emergency_ends_what_was_signed_before(application: Application) -> None:
    answer = await application.issue(fixed_region=REGION, ttl=300)
    server = server_of(answer, "udp")
    await application.relay(server)
    before = await signing(application)
    await application.operate(REGION, "secrets/rotate", emergency=True)

    async def signs() -> bool:
        return await signing(application) == before + 1

    await until(signs)
    assert await application.refusal(server) == 401

    async def takes_clients() -> bool:
        return await application.code(fixed_region=REGION) == f"{REGION} fixed"

    await until(takes_clients)
    await application.relay(await application.turn_server("udp", fixed_region=REGION))
