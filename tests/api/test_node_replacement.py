"""The same name on a new host: the old node is forgotten in the moment in which the new one joins, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.running_api import RunningApi, SimulatedNode, until

REGION = "eu-central"


async def replacing(api: RunningApi, name: str, **body: Any) -> httpx.Response:
    return await api.client.post("/api/v1/fleet/join-tokens", headers=api.bearer("operator"), json={"replace": name, **body})


async def join(api: RunningApi, token: str, name: str, *, nonce: str = "nonce-of-new") -> httpx.Response:
    return await api.client.post("/api/v1/agents/join", json={"join_token": token, "join_nonce": nonce, "name": name})


async def call(api: RunningApi, name: str, change: str, **body: Any) -> None:
    answer = await api.client.post(f"/api/v1/fleet/nodes/{name}/{change}", headers=api.bearer("operator"), json=body)
    assert answer.status_code == 202, answer.text


async def listed(api: RunningApi, what: str, **query: str) -> list[dict[str, Any]]:
    answer = await api.client.get(f"/api/v1/fleet/{what}", headers=api.bearer("operator"), params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


@pytest_asyncio.fixture(loop_scope="session")
async def old(api: RunningApi, request: pytest.FixtureRequest) -> AsyncIterator[SimulatedNode]:
    """In service, under a name of its own."""
    node = SimulatedNode(api, f"old-{abs(hash(request.node.name)) % 10**6}", REGION)
    await node.join()
    await node.beat()
    yield node


async def test_a_node_in_service_is_replaced_only_on_purpose(api: RunningApi, old: SimulatedNode) -> None:
    refused = await replacing(api, old.name)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "drain it first" in refused.json()["detail"]
    made = (await replacing(api, old.name, force=True)).json()
    assert (made["name"], made["region"], made["replaces"]) == (old.name, REGION, old.node_id)
    assert (await old.send(old.heartbeat())).status_code == 200  # until the new one is there, nothing changes
    misnamed = await join(api, made["join_token"], "another")
    assert misnamed.status_code == 403
    assert (await old.send(old.heartbeat())).status_code == 200
    joined = await join(api, made["join_token"], old.name)
    assert joined.status_code == 200, joined.text
    new_id = joined.json()["node_id"]
    assert new_id != old.node_id
    assert (await old.send(old.heartbeat())).status_code == 401
    found = await api.node(old.name)
    assert (found["node_id"], found["region"], found["intent"], found["health"]) == (new_id, REGION, "active", "unknown")
    assert (await api.client.get(f"/api/v1/fleet/nodes/{old.node_id}", headers=api.bearer("operator"))).status_code == 404
    told = [(each["kind"], each["node_id"], each["reason"]) for each in await listed(api, "events", node=old.name)]
    assert told == [("node.replaced", new_id, ""), ("node.forgotten", old.node_id, "replaced")]
    (entry,) = await listed(api, "audit", action="node.replace", limit="1")
    assert (entry["object"], entry["before"], entry["after"]) == (old.name, {"node_id": old.node_id}, {"node_id": new_id})


async def test_a_lost_answer_may_be_asked_for_again(api: RunningApi, old: SimulatedNode) -> None:
    token = (await replacing(api, old.name, force=True)).json()["join_token"]
    first, second = await join(api, token, old.name), await join(api, token, old.name)
    assert first.json()["node_id"] == second.json()["node_id"]
    assert first.json()["node_token"] != second.json()["node_token"]
    assert (await join(api, token, old.name, nonce="somebody-else")).status_code == 403


async def test_of_many_at_once_one_takes_the_place(api: RunningApi, old: SimulatedNode) -> None:
    token = (await replacing(api, old.name, force=True)).json()["join_token"]
    answers = await asyncio.gather(*(join(api, token, old.name, nonce=f"nonce-{number:04}") for number in range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) == 1, statuses
    assert set(statuses) <= {200, 403, 503}


async def test_what_was_wanted_of_the_old_one_is_wanted_of_the_new(api: RunningApi, old: SimulatedNode) -> None:
    await call(api, old.name, "cordon", reason="a new disk")
    token = (await replacing(api, old.name, force=True)).json()["join_token"]
    assert (await join(api, token, old.name)).status_code == 200
    found = await api.node(old.name)
    assert (found["intent"], found["intent_reason"]) == ("cordoned", "a new disk")
    assert "cordoned" in found["ineligible_because"]


async def test_a_drained_node_is_replaced_without_force_and_its_drain_is_over(
    api: RunningApi, old: SimulatedNode, module_database_url: str
) -> None:
    await call(api, old.name, "drain", deadline_seconds=0)
    assert (await replacing(api, old.name)).status_code == 409  # it is not drained yet
    connection = await asyncpg.connect(module_database_url)
    await connection.execute(
        "UPDATE nodes SET secrets_withdrawn_at = now(), drained_at = now() WHERE id = $1::text::uuid", old.node_id
    )
    await connection.close()

    async def drained() -> bool:
        return bool((await api.node(old.name))["drain"]["phase"] == "drained")

    await until(drained)
    token = (await replacing(api, old.name)).json()["join_token"]
    assert (await join(api, token, old.name)).status_code == 200
    found = await api.node(old.name)
    assert (found["intent"], found["drain"]) == ("active", None)


async def test_one_that_came_back_meanwhile_is_not_replaced(api: RunningApi) -> None:
    old = SimulatedNode(api, "comes-back", REGION)
    await old.join()
    token = (await replacing(api, old.name)).json()["join_token"]  # it never reported
    await old.beat()
    refused = await join(api, token, old.name)
    assert (refused.status_code, refused.json()["code"]) == (403, "join_refused")
    assert "reports" in refused.json()["detail"]
    assert (await old.send(old.heartbeat())).status_code == 200
    goodbye = {"boot_id": old.boot_id, "sequence": 99}
    left = await api.client.post("/api/v1/agents/leave", headers={"authorization": f"Bearer {old.token}"}, json=goodbye)
    assert left.status_code == 204
    assert (await join(api, token, old.name)).status_code == 200  # the token was not spent


async def test_one_that_was_forgotten_meanwhile_leaves_its_name_to_the_new_one(api: RunningApi, old: SimulatedNode) -> None:
    token = (await replacing(api, old.name, force=True)).json()["join_token"]
    path = f"/api/v1/fleet/nodes/{old.name}"
    assert (await api.client.delete(path, headers=api.bearer("operator"), params={"force": "true"})).status_code == 204
    assert (await join(api, token, old.name)).status_code == 200
    assert (await api.node(old.name))["node_id"] != old.node_id


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "fields_invalid"),
        ({"replace": "x", "region": REGION}, "fields_invalid"),
        ({"replace": "x", "name": "y"}, "fields_invalid"),
        ({"replace": "no such node"}, "fields_invalid"),
        ({"replace": "no-such-node"}, "not_found"),
        ({"region": "atlantis"}, "region_unknown"),
    ],
)
async def test_what_cannot_be_meant_is_refused(api: RunningApi, body: dict[str, Any], code: str) -> None:
    answer = await api.client.post("/api/v1/fleet/join-tokens", headers=api.bearer("operator"), json=body)
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"] == code
