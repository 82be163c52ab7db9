"""Rotation on the wire: nobody's credential is taken before its time, and an emergency takes them all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.running_api import RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import jobs_process


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[tuple[RunningApi, SimulatedNode]]:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api) as jobs:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        node.keep_beating()
        await until(jobs.leads)
        yield api, node
        await node.stop_beating()


async def rotate(api: RunningApi, path: str = "/nodes/eu-1/secrets/rotate", **body: Any) -> httpx.Response:
    answer = await api.client.post(f"/api/v1/fleet{path}", headers=api.bearer("operator"), json=body)
    assert answer.status_code == 202, answer.text
    return answer


async def versions(api: RunningApi) -> dict[int, str]:
    answer = await api.client.get("/api/v1/fleet/secrets", headers=api.bearer("operator"))
    (node,) = answer.json()["items"]
    return {each["version"]: each["state"] for each in node["versions"]}


async def signed_with(api: RunningApi, node: SimulatedNode) -> int:
    """The version that a new credential is signed with, by its password."""
    answer = await api.issue(json={"fixed_region": "eu-central", "ttl": 1})
    assert answer.status_code == 200, answer.text
    server = answer.json()["iceServers"][1]
    for version, secret in node.secrets.items():
        made = hmac.new(secret.encode(), server["username"].encode(), hashlib.sha1).digest()
        if base64.b64encode(made).decode() == server["credential"]:
            return version
    raise AssertionError("signed with a secret that the node does not hold")


async def staged_and_queued(api: RunningApi, node: SimulatedNode) -> None:
    assert await versions(api) == {1: "signing"}
    assert (await rotate(api)).json() == {"nodes": 1, "staged": 1, "queued": 0, "queued_until": None}

    async def signs_with_the_new_one() -> bool:
        return await signed_with(api, node) == 2

    await until(signs_with_the_new_one)
    assert await versions(api) == {1: "verifying", 2: "signing"}
    assert set(node.secrets) == {1, 2}
    # Asked for again meanwhile.
    asked = (await rotate(api, "/secrets/rotate", region="eu-central")).json()
    assert (asked["nodes"], asked["staged"], asked["queued"]) == (1, 0, 1)
    assert 0 < datetime.fromisoformat(asked["queued_until"]).timestamp() - time.time() < 60


async def test_a_new_version_is_staged_and_signs_and_another_has_to_wait(world: tuple[RunningApi, SimulatedNode]) -> None:
    await staged_and_queued(*world)


@pytest.mark.full
async def test_the_old_version_retires_and_what_was_queued_goes_on(world: tuple[RunningApi, SimulatedNode]) -> None:
    api, node = world
    await staged_and_queued(api, node)
    refused = 0

    async def has_gone_on() -> bool:
        nonlocal refused
        refused += (await api.issue(json={"fixed_region": "eu-central", "ttl": 1})).status_code != 200
        await asyncio.sleep(0.1)
        return await versions(api) == {2: "verifying", 3: "signing"}

    await until(has_gone_on, within_seconds=120, what="the first is retired, and the queued rotation goes on")
    assert refused == 0
    assert 1 not in node.secrets


async def test_an_emergency_takes_the_old_secret_at_once(world: tuple[RunningApi, SimulatedNode], database_url: str) -> None:
    api, node = world
    assert (await api.issue(json={"fixed_region": "eu-central", "ttl": 3600})).status_code == 200
    began = time.monotonic()
    await rotate(api, emergency=True, reason="its disk was copied")

    async def holds_the_new_one_alone() -> bool:
        return set(node.secrets) == {2}

    await until(holds_the_new_one_alone)
    assert time.monotonic() - began < 10
    await until(lambda: takes_clients(api))
    assert await signed_with(api, node) == 2
    connection = await asyncpg.connect(database_url)
    try:
        events = await connection.fetch("SELECT became, reason, detail FROM fleet_events WHERE kind = 'node.secret' ORDER BY id")
        # A credential of the first is valid for an hour yet: it does not come back for that.
        assert await connection.fetchval("SELECT count(*) FROM node_expiries WHERE secret_version = 1 AND latest_at > now()") == 1
    finally:
        await connection.close()
    assert [tuple(row) for row in events] == [("replaced", "emergency", "its disk was copied")]
    assert await versions(api) == {2: "signing"}


async def takes_clients(api: RunningApi) -> bool:
    return (await api.issue(json={"fixed_region": "eu-central", "ttl": 1})).status_code == 200


async def test_a_record_that_arrives_late_brings_its_version_back(
    world: tuple[RunningApi, SimulatedNode], database_url: str
) -> None:
    _, node = world
    connection = await asyncpg.connect(database_url)
    try:
        # As if the rotation had ended, and a replica that was cut off all the while now ships what it signed.
        await connection.execute("UPDATE nodes SET secret_versions = '{2}', secret_staged_at = now()")
        await connection.execute(
            "INSERT INTO node_expiries SELECT id, 1, now() + interval '1 hour' FROM nodes "
            "ON CONFLICT (node_id, secret_version) DO UPDATE SET latest_at = excluded.latest_at"
        )
    finally:
        await connection.close()

    async def holds_both() -> bool:
        return set(node.secrets) == {1, 2}

    await until(holds_both)


@pytest.mark.parametrize("body", [{"region": "Nowhere"}, {"emergency": "perhaps"}, {"reason": "x" * 201}, {"nodes": []}])
async def test_a_wrong_field_is_named(world: tuple[RunningApi, SimulatedNode], body: dict[str, Any]) -> None:
    api, _ = world
    answer = await api.client.post("/api/v1/fleet/secrets/rotate", headers=api.bearer("operator"), json=body)
    assert answer.status_code == 422, answer.text
    assert await versions(api) == {1: "signing"}


async def test_a_region_that_there_is_not_is_told(world: tuple[RunningApi, SimulatedNode]) -> None:
    api, _ = world
    answer = await api.client.post("/api/v1/fleet/secrets/rotate", headers=api.bearer("operator"), json={"region": "atlantis"})
    assert (answer.status_code, answer.json()["code"]) == (422, "region_unknown")
