"""What an agent found on its host, as operators see it, and the certificate that comes to its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from controlplane.api.agent_found import hint
from tests.running_api import RunningApi, SimulatedNode

REGION = "eu-central"
DAY = 86_400
FINDING = {"name": "capacity", "state": "warning", "detail": "1 Gbit/s is assumed.", "remedy": "Say what it can carry."}


def found(**changes: Any) -> dict[str, Any]:
    body = {
        "examined_at": 1_795_317_519.5,
        "listen_address": "10.0.0.5",
        "relay_address": "10.0.0.5",
        "external_address": "11.0.0.8",
        "findings": [FINDING],
    }
    return body | changes


async def tell(node: SimulatedNode, body: dict[str, Any], **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {node.token}", **headers}
    return await node.api.client.post("/api/v1/agents/found", headers=sent, json=body)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def node(api: RunningApi) -> AsyncIterator[SimulatedNode]:
    made = SimulatedNode(api, "found-1", REGION)
    await made.join()
    yield made


async def test_what_was_told_is_shown(api: RunningApi, node: SimulatedNode) -> None:
    assert (await api.node(node.name))["found"] is None
    assert (await tell(node, found(tls_fault="The certificate ended.", seen_address="11.0.0.9"))).status_code == 204
    shown = (await api.node(node.name))["found"]
    assert abs(datetime.fromisoformat(shown.pop("reported_at")).timestamp() - time.time()) < 10
    assert shown == {
        "examined_at": "2026-11-22T03:18:39.500000Z",
        "listen_address": "10.0.0.5",
        "relay_address": "10.0.0.5",
        "external_address": "11.0.0.8",
        "seen_address": "11.0.0.9",
        "source_address": "127.0.0.1",
        "is_behind_nat": True,
        "hint": "A STUN server outside sees this relay as 11.0.0.9, and clients are told 11.0.0.8: "
        "they cannot reach what it relays.",
        "tls_offered": False,
        "tls_fault": "The certificate ended.",
        "findings": [FINDING],
    }
    assert (await tell(node, found(findings=[], tls_offered=True))).status_code == 204
    again = (await api.node(node.name))["found"]
    assert (again["findings"], again["tls_offered"], again["hint"]) == ([], True, None)


@pytest.mark.parametrize(
    ("told", "seen", "source", "says"),
    [
        ("11.0.0.8", None, "11.0.0.8", None),
        ("11.0.0.8", None, "11.0.0.9", "The agent's calls come from 11.0.0.9, and clients are told 11.0.0.8."),
        ("11.0.0.8", "11.0.0.8", "11.0.0.9", None),  # proved: the calls may take another way
        ("11.0.0.8", "11.0.0.9", "11.0.0.8", "A STUN server outside sees this relay as 11.0.0.9"),
        ("11.0.0.8", None, "10.9.9.9", None),  # the control plane is in the same network
        ("10.0.0.5", None, "11.0.0.9", None),
        ("11.0.0.8", None, "2a00::1", None),
        ("11.0.0.8", None, None, None),
    ],
)
def test_addresses_that_do_not_agree_are_pointed_out(told: str, seen: str | None, source: str | None, says: str | None) -> None:
    said = hint(told, seen=seen, source=source)
    assert (said is None) == (says is None)
    assert (said or "").startswith(says or "")


@pytest.mark.parametrize(
    "changes",
    [
        {"listen_address": "10.0.0.5\x00"},
        {"listen_address": "a name"},
        {"tls_fault": "a\x00b"},
        {"tls_fault": "x" * 501},
        {"findings": [FINDING] * 41},
        {"findings": [FINDING | {"detail": "\x00"}]},
        {"findings": [FINDING | {"state": "bad"}]},
        {"findings": [FINDING | {"name": "Ä"}]},
        {"examined_at": 1e12},
        {"examined_at": -1},
        {"examined_at": None},
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(api: RunningApi, node: SimulatedNode, changes: dict[str, Any]) -> None:
    assert (await tell(node, found(tls_fault="before"))).status_code == 204
    refused = await tell(node, found(**changes))
    assert (refused.status_code, refused.json()["code"]) == (422, "fields_invalid")
    assert (await api.node(node.name))["found"]["tls_fault"] == "before"


@pytest.mark.parametrize("text", ["\\ud800", "\\udfff\\ud800"])
async def test_half_a_character_is_no_failure_of_ours(api: RunningApi, node: SimulatedNode, text: str) -> None:
    body = b'{"examined_at":1,"listen_address":"::1","relay_address":"::1","tls_fault":"%s"}' % text.encode()
    answer = await api.client.post("/api/v1/agents/found", headers={"authorization": f"Bearer {node.token}"}, content=body)
    assert answer.status_code in {204, 400, 422}


async def test_odd_but_possible_text_comes_back_as_it_was(api: RunningApi, node: SimulatedNode) -> None:
    odd = '\u202e"\\\U0001f600\x7f\u2028'
    assert (await tell(node, found(findings=[FINDING | {"detail": odd}]))).status_code == 204
    assert (await api.node(node.name))["found"]["findings"][0]["detail"] == odd


async def test_the_latest_instant_that_there_is(api: RunningApi, node: SimulatedNode) -> None:
    assert (await tell(node, found(examined_at=1e11))).status_code == 204
    assert (await api.node(node.name))["found"]["examined_at"].startswith("5138-")


async def test_a_forgotten_node_tells_nothing_any_more(api: RunningApi) -> None:
    gone = SimulatedNode(api, "found-and-gone", REGION)
    await gone.join()
    assert (await tell(gone, found())).status_code == 204
    path = "/api/v1/fleet/nodes/found-and-gone"
    assert (await api.client.delete(path, headers=api.bearer("operator"))).status_code == 204
    assert (await tell(gone, found())).status_code == 401


async def problems(api: RunningApi) -> list[str]:
    overview = await api.client.get("/api/v1/fleet/overview", headers=api.bearer("operator"))
    return [each["what"] for each in overview.json()["problems"] if "certificate" in each["what"]]


async def test_a_certificate_that_ends_soon_is_a_problem_of_the_overview(api: RunningApi) -> None:
    nodes = [SimulatedNode(api, f"tls-{number}", REGION) for number in range(4)]
    ends = [None, time.time() + 20 * DAY, time.time() + 2 * DAY, time.time() - DAY]
    for node, ends_at in zip(nodes, ends, strict=True):
        await node.join()
        node.changes = {"certificate_ends_at": ends_at}
        await node.beat()
    assert (await api.node("tls-0"))["certificate_ends_at"] is None
    shown = datetime.fromisoformat((await api.node("tls-2"))["certificate_ends_at"])
    assert ends[2] is not None
    assert abs(shown.timestamp() - ends[2]) < 0.001
    ended, ending = await problems(api)
    day = datetime.fromtimestamp(time.time() - DAY, UTC)
    assert ended.startswith(f"The certificate of tls-3 ended on {day:%Y-%m-%d}")
    assert ended.endswith("clients are not told of its TLS listener.")
    assert ending.startswith("The certificate of tls-2 ends on ")
    assert ending.endswith("it has not been renewed.")
