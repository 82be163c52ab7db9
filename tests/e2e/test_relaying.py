"""A credential from the API relays real bytes through a real coturn; a wrong or expired one does not."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from aioice.turn import create_turn_endpoint

from deploy.local.relay_check import turn_servers
from deploy.local.stack import Stack
from tests.e2e.application import Application
from tests.running_api import until

REGIONS = ("eu-central", "us-east")


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_bytes_come_back_through_the_relay(application: Application, region: str, transport: str) -> None:
    server = await application.turn_server(transport, fixed_region=region)
    node = next(node for node in application.stack.ready["nodes"] if node["region"] == region)
    port = node["tls_port"] if transport == "tls" else node["port"]
    assert f":{port}?" in server.url
    check = await application.relay(server)
    low, high = application.stack.nodes[f"{region}-1"].ports.relay_range.split("-")
    assert int(low) <= check.relayed_address[1] <= int(high)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_wrong_password_is_refused(application: Application, region: str, transport: str) -> None:
    server = await application.turn_server(transport, fixed_region=region)
    assert await application.refusal(dataclasses.replace(server, credential="AAAAAAAAAAAAAAAAAAAAAAAAAAA=")) == 401


async def test_a_stretched_expiry_is_refused(application: Application) -> None:
    server = await application.turn_server("udp", fixed_region="eu-central")
    expiry, credential_id = server.username.split(":")
    assert await application.refusal(dataclasses.replace(server, username=f"{int(expiry) + 3600}:{credential_id}")) == 401


@pytest.mark.parametrize("region", REGIONS)
async def test_an_expired_credential_is_refused(application: Application, region: str) -> None:
    server = await application.turn_server("udp", fixed_region=region, ttl=1)
    expiry = int(server.username.split(":")[0])

    async def refused() -> bool:
        return time.time() > expiry + 1 and await application.is_refused(server)

    # coturn compares with a clock of its own that a timer sets once a second, so it may be a second or two late.
    await until(refused, within_seconds=8, what="the expired credential is refused")
    assert time.time() < expiry + 5
    assert await application.refusal(server) == 401


async def test_a_credential_of_one_node_is_worth_nothing_at_another(application: Application) -> None:
    here = await application.turn_server("udp", fixed_region="eu-central")
    there = await application.turn_server("udp", fixed_region="us-east")
    assert await application.refusal(dataclasses.replace(here, url=there.url)) == 401


async def test_every_url_of_an_answer_works_and_is_recorded(application: Application) -> None:
    answer = await application.issue(room="e2e", fixed_region="us-east")
    for server in turn_servers(answer.json()["iceServers"]):
        await application.relay(server)
    connection = await asyncpg.connect(application.stack.ready["database_url"])

    async def recorded() -> bool:
        row = await connection.fetchrow("SELECT room FROM credentials WHERE id = $1::uuid", answer.headers["x-credential-id"])
        return row is not None and row["room"] == "e2e"

    await until(recorded, within_seconds=3)
    await connection.close()


async def test_the_nodes_say_what_they_are(application: Application) -> None:
    node = await application.node("eu-central")
    assert node["coturn"]["version"].startswith("4.")
    assert {each["transport"] for each in node["listeners"]} == {"udp", "tcp", "tls"}
    assert node["probe"]["ok"]
    assert {each["transport"] for each in node["probe"]["listeners"]} == {"udp", "tcp", "tls"}
    assert node["capacity"] == {
        "bits_per_second": 1e9,
        "allocations": node["capacity"]["allocations"],
        "source": "stated",
        "packets_per_second": None,
    }
    assert abs(node["clock_offset_seconds"]) < 1
    assert node["signing_version"] == 1
    assert not node["secrets_drifted"]


async def test_live_allocations_are_counted(application: Application) -> None:
    held = await asyncio.gather(*(application.turn_server("udp", fixed_region="us-east") for _ in range(3)))

    endpoints = []
    for server in held:
        port = int(server.url.split(":")[2].split("?")[0])
        transport, _ = await create_turn_endpoint(
            asyncio.DatagramProtocol, server_addr=("127.0.0.1", port), username=server.username, password=server.credential
        )
        endpoints.append(transport)

    async def counted() -> bool:
        return int((await application.node("us-east"))["load"]["allocations"]) >= 3

    await until(counted, within_seconds=8, what="the node reports three allocations")
    for transport in endpoints:
        transport.close()

    async def gone() -> bool:
        return int((await application.node("us-east"))["load"]["allocations"]) <= 1

    await until(gone, within_seconds=15, what="the allocations are gone")
