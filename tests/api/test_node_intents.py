"""Cordon, drain and what ends them: on every replica, with who did it and why; and forgetting a node."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from controlplane.postgres_store.directory import all_nodes
from controlplane.postgres_store.intents import withdraw_secrets
from tests.databases import PatientDatabase
from tests.running_api import RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import jobs_process

EFFECTIVE_SECONDS = 1.25


async def call(api: RunningApi, node: str, change: str, **body: Any) -> httpx.Response:
    return await api.client.post(f"/api/v1/fleet/nodes/{node}/{change}", headers=api.bearer("operator"), json=body)


@pytest_asyncio.fixture(loop_scope="session")
async def spare(api: RunningApi) -> AsyncIterator[SimulatedNode]:
    """The only node of a region of its own; forgotten in the end."""
    await api.put_region("spare")
    node = SimulatedNode(api, f"spare-{time.monotonic_ns()}", "spare")
    await node.bring_up()
    node.keep_beating()
    yield node
    await node.stop_beating()
    path = f"/api/v1/fleet/nodes/{node.name}"
    assert (await api.client.delete(path, headers=api.bearer("operator"), params={"force": "true"})).status_code in {204, 404}


async def takes_clients(api: RunningApi) -> bool:
    return (await api.issue(json={"fixed_region": "spare"})).status_code == 200


async def takes_none(api: RunningApi) -> bool:
    return not await takes_clients(api)


@pytest.mark.parametrize(("change", "back", "intent"), [("cordon", "uncordon", "cordoned"), ("drain", "undrain", "draining")])
async def test_it_is_in_effect_on_every_replica_at_once_and_can_be_taken_back(
    api: RunningApi, behind_a_proxy: RunningApi, spare: SimulatedNode, change: str, back: str, intent: str
) -> None:
    other = behind_a_proxy
    other.tokens = api.tokens
    await until(lambda: takes_clients(other), what="the other replica sees the node")
    answer = await call(api, spare.name, change, reason="a new disk")
    assert answer.status_code == 202, answer.text
    assert answer.json()["intent"] == intent
    assert await takes_none(api)
    assert await until(lambda: takes_none(other)) <= EFFECTIVE_SECONDS
    shown = await api.node(spare.name)
    assert (shown["intent"], shown["intent_reason"], shown["eligible"]) == (intent, "a new disk", False)
    assert shown["intent_by"] == api.tokens["operator_token"][4:16]
    assert shown["ineligible_because"] == [intent]
    assert (shown["drain"] is not None) == (change == "drain")
    answer = await call(other, spare.name, back, reason="done")
    assert (answer.status_code, answer.json()["intent"], answer.json()["drain"]) == (202, "active", None)
    assert await until(lambda: takes_clients(api)) <= EFFECTIVE_SECONDS


async def test_what_cannot_be_is_refused_and_changes_nothing(api: RunningApi, spare: SimulatedNode) -> None:
    assert (await call(api, spare.name, "drain", reason="first")).status_code == 202
    refused = await call(api, spare.name, "cordon", reason="second")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "undrain" in refused.json()["detail"]
    assert (await api.node(spare.name))["intent_reason"] == "first"
    assert (await call(api, "nobody", "cordon")).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"deadline_seconds": -1},
        {"deadline_seconds": 604_801},
        {"reason": "x" * 201},
        {"reason": "a\u0000b"},
        {"force": "x"},
        {"why": 1},
    ],
)
async def test_a_wrong_field_is_named_and_changes_nothing(api: RunningApi, spare: SimulatedNode, body: dict[str, Any]) -> None:
    answer = await call(api, spare.name, "drain", **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "fields_invalid")
    assert (await api.node(spare.name))["intent"] == "active"


async def test_a_body_is_not_needed(api: RunningApi, spare: SimulatedNode) -> None:
    path = f"/api/v1/fleet/nodes/{spare.name}/cordon"
    assert (await api.client.post(path, headers=api.bearer("operator"))).status_code == 202


async def test_who_asked_and_why_is_kept(api: RunningApi, spare: SimulatedNode, module_database_url: str) -> None:
    await call(api, spare.name, "cordon", reason="noise")
    await call(api, spare.name, "cordon", reason="noise")
    await call(api, spare.name, "uncordon")
    connection = await asyncpg.connect(module_database_url)
    try:
        events = await connection.fetch(
            "SELECT was, became, reason, detail, actor FROM fleet_events WHERE kind = 'node.intent' AND node_id = $1 ORDER BY id",
            spare.node_id,
        )
    finally:
        await connection.close()
    by = api.tokens["operator_token"][4:16]
    # Asked twice it changed once.
    assert [tuple(row) for row in events] == [
        ("active", "cordoned", "cordon", "noise", by),
        ("cordoned", "active", "uncordon", "", by),
    ]
    audit = await api.client.get("/api/v1/fleet/audit", headers=api.bearer("operator"), params={"action": "node.cordon"})
    entry = audit.json()["items"][0]
    assert (entry["object"], entry["after"]["reason"]) == (spare.name, "noise")


async def test_a_drain_goes_on_by_itself_to_its_end_and_back(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api) as jobs:
        await api.put_region("spare")
        node = SimulatedNode(api, "spare-1", "spare")
        await node.bring_up()
        busy = node.heartbeat()["load"] | {"allocations": 2}
        node.changes = {"load": busy}
        node.keep_beating()
        await until(jobs.leads, within_seconds=10)
        assert (await api.issue(json={"fixed_region": "spare", "ttl": 3600})).status_code == 200
        began = time.monotonic()
        await call(api, "spare-1", "drain", deadline_seconds=8)

        async def in_phase(name: str) -> bool:
            return bool((await api.node("spare-1"))["drain"]["phase"] == name)

        assert await in_phase("waiting")
        assert node.secrets
        await until(lambda: in_phase("ending"), within_seconds=15, what="the deadline")
        # A credential is good for an hour yet: nothing but the deadline withdraws the secret.
        assert time.monotonic() - began > 7
        reply = await node.beat()
        reply = await node.beat()
        assert (reply["secret_versions"], reply["end_allocations"], node.secrets) == ([], True, {})
        assert (await api.node("spare-1"))["health_reason"] == "secrets_withdrawn"
        assert (await api.node("spare-1"))["drain"]["allocations_left"] == 2
        node.changes = {}
        await until(lambda: in_phase("drained"))
        await call(api, "spare-1", "undrain")
        await until(node.is_up, what="it takes clients again")
        assert (await node.beat())["end_allocations"] is False

        connection = await asyncpg.connect(database_url)
        kinds = "SELECT became FROM fleet_events WHERE kind IN ('node.intent', 'node.drain') ORDER BY id"
        try:
            told = [row["became"] for row in await connection.fetch(kinds)]
        finally:
            await connection.close()
        assert told == ["draining", "emptying", "drained", "active"]
        await node.stop_beating()


@pytest.mark.full
async def test_secrets_stay_until_the_last_credential_has_expired(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api):
        await api.put_region("spare")
        node = SimulatedNode(api, "spare-1", "spare")
        await node.bring_up()
        node.keep_beating()
        answer = await api.issue(json={"fixed_region": "spare", "ttl": 50})
        expires_at = int(answer.json()["iceServers"][1]["username"].split(":")[0])
        await call(api, "spare-1", "drain", deadline_seconds=600)

        async def drained() -> bool:
            return bool((await api.node("spare-1"))["drain"]["phase"] == "drained")

        await until(drained, within_seconds=120, what="it is drained long before its deadline")
        assert time.time() > expires_at
        await node.stop_beating()


async def test_a_record_that_arrives_late_gives_the_secrets_back(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, jobs_process(api):
        await api.put_region("spare")
        node = SimulatedNode(api, "spare-1", "spare")
        await node.bring_up()
        node.keep_beating()
        connection = await asyncpg.connect(database_url)

        async def has_no_secret() -> bool:
            # As if the node had been given to nobody: records may still be on their way.
            await connection.execute("DELETE FROM node_expiries")
            return node.secrets == {}

        async def has_it_again() -> bool:
            return set(node.secrets) == {1}

        try:
            await call(api, "spare-1", "drain", deadline_seconds=600)
            await connection.execute("UPDATE nodes SET intent_at = now() - interval '1 minute'")
            node.changes = {"load": node.heartbeat()["load"] | {"allocations": 1}}
            await until(has_no_secret, within_seconds=40)
            late = "INSERT INTO node_expiries VALUES ($1, 1, now() + interval '5 minutes')"
            await connection.execute(late, UUID(node.node_id))
            await until(has_it_again, within_seconds=40)
        finally:
            await connection.close()
        assert (await api.node("spare-1"))["drain"]["phase"] == "waiting"
        await node.stop_beating()


async def test_a_step_that_was_decided_on_another_drain_is_not_taken(api: RunningApi, spare: SimulatedNode) -> None:
    database = PatientDatabase(api.environment["TURNFLEET_DATABASE_URL"], connections=1)
    try:
        await call(api, spare.name, "drain", deadline_seconds=0)
        (before,) = [node for node in await all_nodes(database) if node.name == spare.name]
        await call(api, spare.name, "drain", deadline_seconds=3600)
        assert before.drain is not None
        assert not await withdraw_secrets(database, before, before.drain, epoch=0)
        (after,) = [node for node in await all_nodes(database) if node.name == spare.name]
        assert after.drain is not None
        assert await withdraw_secrets(database, after, after.drain, epoch=0)
    finally:
        await database.close()


async def test_a_node_in_the_middle_of_its_drain_is_not_forgotten(api: RunningApi, spare: SimulatedNode) -> None:
    await call(api, spare.name, "drain", deadline_seconds=3600)
    path = f"/api/v1/fleet/nodes/{spare.name}"
    assert (await api.client.delete(path, headers=api.bearer("operator"))).status_code == 409


async def test_a_node_in_service_is_forgotten_only_on_purpose(api: RunningApi, spare: SimulatedNode) -> None:
    path = f"/api/v1/fleet/nodes/{spare.name}"
    refused = await api.client.delete(path, headers=api.bearer("operator"))
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    await spare.stop_beating()
    assert (await api.client.delete(path, headers=api.bearer("operator"), params={"force": "true"})).status_code == 204
    assert (await api.client.get(path, headers=api.bearer("operator"))).status_code == 404
    assert (await spare.send(spare.heartbeat())).status_code == 401
    again = SimulatedNode(api, spare.name, "spare")
    await again.join()
    assert again.node_id != spare.node_id
    await call(api, spare.name, "cordon")
    events = await api.client.get("/api/v1/fleet/events", headers=api.bearer("operator"), params={"node": spare.name})
    told = [(each["kind"], each["node_id"], each["node"]) for each in events.json()["items"]]
    assert ("node.forgotten", spare.node_id, spare.name) in told  # under its name there is what happened to both
    assert ("node.intent", again.node_id, spare.name) in told
    only = await api.client.get("/api/v1/fleet/events", headers=api.bearer("operator"), params={"node": spare.node_id})
    assert {each["node_id"] for each in only.json()["items"]} == {spare.node_id}
