"""Relays tried from outside, with real agents behind real coturns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from tests.cli.running_cli import Cli
from tests.e2e.application import Application, server_of
from tests.running_api import until

NODES = ("eu-central-1", "us-east-1")


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


async def probe(stack: Stack, application: Application, name: str) -> dict[str, Any]:
    bearer = {"authorization": f"Bearer {stack.ready['operator_token']}"}
    answer = await application.client.post(f"/api/v1/fleet/nodes/{name}/probe", headers=bearer, json={"peers": True})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("name", NODES)
async def test_every_listener_of_every_node_relays_and_no_forbidden_peer_is_permitted(
    stack: Stack, application: Application, name: str
) -> None:
    told = await probe(stack, application, name)
    assert [(each["transport"], each["failure"]) for each in told["listeners"]] == [("udp", None), ("tcp", None), ("tls", None)]
    assert (told["ok"], told["permitted_peers"]) == (True, [])
    assert len(told["refused_peers"]) > 10


async def test_probes_are_nobodys_allocations(stack: Stack, application: Application) -> None:
    connection = await asyncpg.connect(stack.ready["database_url"])

    async def is_told() -> bool:
        return await connection.fetchval("SELECT true FROM allocations WHERE credential_id = $1::uuid", credential_id) is not None

    try:
        for _ in range(3):
            await probe(stack, application, "eu-central-1")
        # The agent tells of allocations in their order: those of the probes would have come first.
        answer = await application.issue(fixed_region="eu-central")
        credential_id = answer.headers["x-credential-id"]
        await application.relay(server_of(answer, "udp"))
        await until(is_told, what="the application's allocation is told")
        nobodys = (
            "SELECT count(*) FROM allocations WHERE credential_id IS NULL OR credential_id NOT IN (SELECT id FROM credentials)"
        )
        assert await connection.fetchval(nobodys) == 0
        assert await connection.fetchval("SELECT count(*) FROM fleet_events WHERE kind = 'usage.foreign'") == 0
    finally:
        await connection.close()


async def test_the_command_line_relays_through_every_region(stack: Stack, folder: Path) -> None:
    cli = Cli(
        environment={
            "TURNFLEET_CLIENT_URL": stack.ready["api_url"],
            "TURNFLEET_CLIENT_TOKEN": stack.ready["project_token"],
            "TURNFLEET_CLIENT_CA_FILE": stack.ready["ca_file"],
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
        }
    )
    tested = await cli("relay-test")
    checked = await cli("netcheck", "--json")
    assert (tested.status, checked.status) == (0, 0), tested.err + checked.err
    assert [(each["region"], each["relayed"], len(each["urls"])) for each in checked.json_lines()] == [
        ("eu-central", True, 3),
        ("us-east", True, 3),
    ]
