"""A drain on a real relay: nobody loses a call before its deadline, and nobody gets in once the secrets are withdrawn."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application, server_of
from tests.e2e.restless import restless
from tests.running_api import until

REGION, AGENT = "eu-central", "eu-central-1:agent"
DEADLINE_SECONDS = 15


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.operate(REGION, "undrain")
    await until(lambda: in_service(application), what="the node is back for the tests to come")
    await application.client.aclose()


async def in_service(application: Application) -> bool:
    return await application.code(fixed_region=REGION) == f"{REGION} fixed"


async def phase(application: Application) -> str:
    drain = (await application.node(REGION))["drain"]
    return "" if drain is None else str(drain["phase"])


async def test_a_call_goes_on_to_the_deadline_and_longer_where_it_may(stack: Stack, application: Application) -> None:
    answer = await application.issue(fixed_region=REGION, ttl=300)
    server = server_of(answer, "udp")
    async with restless(server, silence_seconds=3.0) as client:
        asked = time.monotonic()
        await application.operate(REGION, "drain", deadline_seconds=DEADLINE_SECONDS, force=False, reason="a new kernel")
        assert await application.code(fixed_region=REGION) == "region_down"
        # What was given out before stays good: its holder may be ringing still.
        await application.relay(server)
        assert await phase(application) == "waiting"

        async def has_no_secret() -> bool:
            return bool((await application.node(REGION))["health_reason"] == "secrets_withdrawn")

        await until(has_no_secret, within_seconds=2 * DEADLINE_SECONDS, what="its secrets are withdrawn")
        assert time.monotonic() - asked > DEADLINE_SECONDS - 1
        assert await phase(application) == "emptying"
        assert await application.refusal(server) == 401
        assert (await application.node(REGION))["health"] == "unknown"

        # Whoever starts again goes on with it.
        await stack.stop_part(AGENT)
        await stack.start_part(AGENT)
        await stack.stop_part("redis")
        await stack.start_part("redis")

        async def reports() -> bool:
            node = await application.node(REGION)
            return bool(node["last_report_age_seconds"] < 2 and node["drain"]["allocations_left"] == 1)

        await until(reports, within_seconds=20, what="the agent is back, and counts the call")
        assert await phase(application) == "emptying"
        assert len(client.stretches) == 1, "the call was interrupted"
        assert time.monotonic() - client.last_packet_at < 3

        await application.operate(REGION, "drain", deadline_seconds=0, force=True)

        async def is_drained() -> bool:
            return await phase(application) == "drained"

        await until(is_drained, within_seconds=10, what="the call is ended")
        assert len(client.stretches) == 1

        async def is_told() -> bool:
            told = await application.allocations(answer.headers["x-credential-id"])
            return "drained" in {each["end_reason"] for each in told}

        await until(is_told, what="the record says why it ended")

        await application.operate(REGION, "undrain")
        await until(lambda: in_service(application), what="the node takes clients again")
        # The same credential is good again: the node has its old secret.
        await application.relay(server)

        async def relays_again() -> bool:
            return len(client.stretches) > 1

        await until(relays_again, what="so does the client that never gave up")
