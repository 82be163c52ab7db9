"""POST /agents/usage over HTTP: who may tell what of which node, and what it is told in return."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.running_api import RunningApi, SimulatedNode, until

_USAGE = "/api/v1/agents/usage"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def node(api: RunningApi) -> AsyncIterator[SimulatedNode]:
    """The only node of its region, so that every credential for that region is its."""
    await api.put_region("metered", 1.35, 103.82, "SG")
    node = SimulatedNode(api, "metered-1", "metered")
    await node.bring_up()
    node.keep_beating()
    yield node
    await node.stop_beating()


async def send(node: SimulatedNode, **body: Any) -> httpx.Response:
    return await node.api.client.post(_USAGE, headers={"authorization": f"Bearer {node.token}"}, json={"allocations": []} | body)


def row(credential_id: str | None, session: int = 1, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "coturn_boot_id": "coturn-boot-1",
        "session_id": f"{session:018d}",
        "started_at": time.time() - 5,
        "revision": 1,
        "credential_id": credential_id,
        "client_address": "198.51.100.7",
        "transport": "udp",
        "bytes_from_client": 100,
        "bytes_to_client": 200,
    }
    return told | changes


async def stored(node: SimulatedNode, credential_id: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(node.api.environment["TURNFLEET_DATABASE_URL"])
    try:
        return list(await connection.fetch("SELECT * FROM allocations WHERE credential_id = $1 ORDER BY session_id", credential_id))
    finally:
        await connection.close()


async def metric(api: RunningApi, outcome: str) -> float:
    text = (await api.client.get(api.metrics_url)).text
    name = f'turnfleet_allocation_reports_total{{outcome="{outcome}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


async def issued(node: SimulatedNode, region: str = "metered") -> str:
    answer = await node.api.issue(json={"fixed_region": region, "room": "r1"})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-credential-id"]


async def known(node: SimulatedNode, credential_id: str) -> dict[str, Any]:
    """Its rule, once its record has reached PostgreSQL."""
    rules: list[dict[str, Any]] = []

    async def told() -> bool:
        rules[:] = (await send(node, ask=[credential_id])).json()["rules"]
        return bool(rules)

    await until(told, within_seconds=5)
    return rules[0]


async def test_an_allocation_is_stored_for_the_node_of_the_token(node: SimulatedNode) -> None:
    credential_id = await issued(node)
    rule = {"credential_id": credential_id, "end_at_expiry": False, "max_allocations": None, "max_bits_per_second": None}
    assert await known(node, credential_id) == rule
    answer = await send(node, allocations=[row(credential_id, node_id="somebody-else", region="us-east")])
    assert (answer.status_code, answer.json()) == (200, {"rules": [rule]})
    (found,) = await stored(node, credential_id)
    assert (str(found["node_id"]), found["region"], found["matched"]) == (node.node_id, "metered", "matched")


async def test_the_same_report_again_is_answered_alike_and_changes_nothing(node: SimulatedNode) -> None:
    credential_id = await issued(node)
    told = row(credential_id)
    before = await metric(node.api, "stale")
    for _ in range(3):
        assert (await send(node, allocations=[told])).status_code == 200
    assert len(await stored(node, credential_id)) == 1
    assert await metric(node.api, "stale") == before + 2


async def test_a_node_learns_nothing_of_credentials_of_another(node: SimulatedNode) -> None:
    others, own = await issued(node, "us-east"), await issued(node)
    await known(node, own)  # shipped after the other one
    assert (await send(node, ask=[others], allocations=[row(others)])).json() == {"rules": []}


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        ({"started_at": 1e11}, "out_of_time"),
        ({"started_at": 0}, "out_of_time"),
        ({"session_id": "1; DROP"}, "malformed"),
        ({"bytes_from_client": -1}, "malformed"),
        ({"bytes_from_client": 10**30}, "malformed"),
        ({"revision": "x"}, "malformed"),
        ({"credential_id": None}, "not_ours"),
        ({"credential_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"}, "not_ours"),
        ({"credential_id": "00000000-0000-4000-8000-000000000000"}, "not_ours"),
        ({"credential_id": "e677d21f-dbff-7000-8000-000000000001"}, "not_ours"),  # the last second that Python can name
    ],
)
async def test_one_wrong_row_is_left_out_and_holds_no_other_up(node: SimulatedNode, wrong: dict[str, Any], outcome: str) -> None:
    credential_id = await issued(node)
    before = await metric(node.api, outcome)
    answer = await send(node, allocations=[row(credential_id, 1), row(credential_id, 2) | wrong, row(credential_id, 3)])
    assert answer.status_code == 200, answer.text
    assert [int(each["session_id"]) for each in await stored(node, credential_id)] == [1, 3]
    assert await metric(node.api, outcome) == before + 1


@pytest.mark.parametrize(
    "odd",
    [
        {"client_address": "no address"},
        {"client_address": "fe80::1%eth0"},
        {"end_reason": "nul\x00 and \U0001f480"},
        {"ended_at": 1e11},
        {"ended_at": 0},
        {"credential_expires_at": 1e11},
        {"bits_per_second": 1e15},
        {"bytes_from_client": 2**53, "packets_to_client": 2**53},
    ],
)
async def test_an_odd_field_does_not_lose_the_row(node: SimulatedNode, odd: dict[str, Any]) -> None:
    credential_id = await issued(node)
    assert (await send(node, allocations=[row(credential_id) | odd])).status_code == 200
    (found,) = await stored(node, credential_id)
    assert found["ended_at"] is None or found["started_at"] <= found["ended_at"] <= found["reported_at"]


async def test_500_allocations_with_long_fields_are_one_report(node: SimulatedNode) -> None:
    credential_id = await issued(node)
    long = {"coturn_boot_id": "b" * 64, "end_reason": "r" * 200, "client_address": "2001:db8:1111:2222:3333:4444:5555:6666"}
    rows = [row(credential_id, number) | long for number in range(500)]
    assert (await send(node, allocations=rows)).status_code == 200
    assert len(await stored(node, credential_id)) == 500
    assert (await send(node, allocations=[*rows, row(credential_id, 501)])).status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "body_malformed"),
        (b"[" * 100_000, 422, "fields_invalid"),
        (b'{"allocations": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "body_malformed"),
        (b"\xff\xfe", 400, "body_malformed"),
        (b'{"allocations": {}}', 422, "fields_invalid"),
        (b'{"ask": []}', 422, "fields_invalid"),
        (b" " * (1024 * 1024 + 1), 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_report_is_refused(node: SimulatedNode, body: bytes, status: int, code: str) -> None:
    answer = await node.api.client.post(_USAGE, headers={"authorization": f"Bearer {node.token}"}, content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_ask_takes_what_it_understands(node: SimulatedNode) -> None:
    credential_id = await issued(node)
    await known(node, credential_id)
    answer = await send(node, ask=[5, "x", None, {"a": "\x00"}, credential_id])
    assert [rule["credential_id"] for rule in answer.json()["rules"]] == [credential_id]


async def test_only_a_node_token_may_report(node: SimulatedNode) -> None:
    for headers in ({}, node.api.bearer("operator"), node.api.bearer("project"), {"authorization": "Bearer tfn_wrong"}):
        answer = await node.api.client.post(_USAGE, headers=headers, json={"allocations": []})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
