"""The next token of a real agent: taken while it serves, kept over restarts of every side, and what it found is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application
from tests.running_api import until

REGION = "us-east"
NODE = "us-east-1"


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


def identity(stack: Stack) -> dict[str, Any]:
    return dict(json.loads((stack.options.nodes / NODE / "node.json").read_text()))


async def status_of(application: Application, token: str) -> int:
    """Of a call that changes nothing."""
    answer: httpx.Response = await application.client.post(
        "/api/v1/agents/usage", headers={"authorization": f"Bearer {token}"}, json={"allocations": []}
    )
    return answer.status_code


async def test_an_agent_takes_its_next_token_and_keeps_it(stack: Stack, application: Application) -> None:
    before = identity(stack)
    generation = (await application.node(REGION))["token"]["generation"]
    await application.operate(REGION, "token/rotate", reason="a look")

    async def taken() -> bool:
        token = (await application.node(REGION))["token"]
        return bool(token["generation"] == generation + 1 and token["next_offered_at"] is None)

    await until(taken, within_seconds=10)
    after = identity(stack)
    assert after["node_token"] != before["node_token"]
    assert after["former_node_token"] == before["node_token"]
    assert await status_of(application, before["node_token"]) == 401
    assert await status_of(application, after["node_token"]) == 200

    async def serves() -> bool:
        found = await application.node(REGION)
        return bool(found["eligible"] and found["health"] == "up")

    started_at = datetime.now(UTC)

    async def speaks_anew() -> bool:
        found = (await application.node(REGION))["found"]
        return found is not None and datetime.fromisoformat(found["examined_at"]) > started_at

    await stack.stop_part(f"{NODE}:agent")
    await stack.stop_part("api")
    await stack.start_part("api")
    await stack.start_part(NODE)
    # Until then what is known of the node is what its last agent said.
    await until(speaks_anew, within_seconds=30)
    await until(serves, within_seconds=30)
    assert identity(stack) == after
    await application.relay(await application.turn_server("udp", fixed_region=REGION))


async def test_what_the_agents_found_is_with_their_nodes(stack: Stack, application: Application) -> None:
    async def told() -> bool:
        return (await application.node(REGION))["found"] is not None

    await until(told, within_seconds=30)
    node = await application.node(REGION)
    assert node["found"]["tls_offered"]
    assert node["found"]["tls_fault"] is None
    assert {one["name"] for one in node["found"]["findings"]} >= {"addresses", "certificate", "coturn", "disk"}
    assert node["certificate_ends_at"] is not None
