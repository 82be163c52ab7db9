"""Rolls by API: asked for, looked at, stopped and resumed. No leader runs here, so nothing of them is done."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.running_api import RunningApi, SimulatedNode, until


async def call(api: RunningApi, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await api.client.request(
        method, f"/api/v1/fleet/{path}", headers=api.bearer("operator"), json=body if method == "POST" else None
    )
    return answer.status_code, dict(answer.json())


@pytest_asyncio.fixture(loop_scope="session")
async def region(api: RunningApi) -> AsyncIterator[str]:
    """With two nodes that have joined and never reported."""
    slug = f"rolled-{time.monotonic_ns()}"
    await api.put_region(slug)
    nodes = [SimulatedNode(api, f"{slug}-{number}", slug) for number in (2, 1)]
    for node in nodes:
        await node.join()
    yield slug
    for node in nodes:
        await api.client.delete(f"/api/v1/fleet/nodes/{node.name}", headers=api.bearer("operator"), params={"force": "true"})


async def test_a_roll_is_asked_for_and_shown(api: RunningApi, region: str) -> None:
    asked = {"reason": "4.7", "max_unavailable": 2, "deadline_seconds": 60, "force": False}
    status, made = await call(api, "POST", f"regions/{region}/roll", **asked)
    assert status == 202, made
    assert {name: made[name] for name in asked} == asked
    assert (made["state"], made["nodes"], made["done"], made["ended_at"]) == ("running", 2, 0, None)
    assert made["started_by"] == api.tokens["operator_token"][4:16]
    assert [(each["name"], each["step"]) for each in made["steps"]] == [(f"{region}-1", "waiting"), (f"{region}-2", "waiting")]
    # Both are out of service: that is as many as may be, but neither could restart anything.
    assert made["waits_for"].startswith("At most 2 may be out of service")
    assert (await call(api, "GET", f"rolls/{made['roll_id']}")) == (200, made)
    audit = await api.client.get(
        "/api/v1/fleet/audit", headers=api.bearer("operator"), params={"action": "roll.start", "limit": "1"}
    )
    assert audit.json()["items"][0]["object"] == made["roll_id"]
    assert audit.json()["items"][0]["after"] == {"region": region, "reason": "4.7", "max_unavailable": 2, "nodes": 2}


async def test_a_region_has_one_roll_at_a_time(api: RunningApi, region: str) -> None:
    _, first = await call(api, "POST", f"regions/{region}/roll")
    status, problem = await call(api, "POST", f"regions/{region}/roll")
    assert (status, problem["code"]) == (409, "conflict")
    assert "is running" in problem["detail"]
    status, stopped = await call(api, "POST", f"rolls/{first['roll_id']}/stop", reason="lunch")
    assert (status, stopped["state"], stopped["stopped_because"]) == (200, "stopped", "lunch")
    assert stopped["stopped_by"] == api.tokens["operator_token"][4:16]
    assert stopped["ended_at"] is not None
    # Asked twice it is what it was.
    assert (await call(api, "POST", f"rolls/{first['roll_id']}/stop", reason="again"))[1] == stopped
    status, resumed = await call(api, "POST", f"rolls/{first['roll_id']}/resume")
    assert (status, resumed["state"], resumed["stopped_because"], resumed["ended_at"]) == (200, "running", "", None)
    status, problem = await call(api, "POST", f"rolls/{first['roll_id']}/resume")
    assert (status, problem["code"]) == (409, "conflict")
    events = await api.client.get("/api/v1/fleet/events", headers=api.bearer("operator"), params={"region": region})
    told = [(each["kind"], each["became"], each["detail"]) for each in reversed(events.json()["items"])]
    assert told == [("roll.started", "running", ""), ("roll.stopped", "stopped", "lunch"), ("roll.resumed", "running", "")]


async def test_a_newer_roll_is_the_one_that_goes_on(api: RunningApi, region: str) -> None:
    _, first = await call(api, "POST", f"regions/{region}/roll")
    await call(api, "POST", f"rolls/{first['roll_id']}/stop")
    _, second = await call(api, "POST", f"regions/{region}/roll")
    await call(api, "POST", f"rolls/{second['roll_id']}/stop")
    status, problem = await call(api, "POST", f"rolls/{first['roll_id']}/resume")
    assert (status, "newer roll" in problem["detail"]) == (409, True)
    assert (await call(api, "POST", f"rolls/{second['roll_id']}/resume"))[0] == 200


async def test_lists_are_by_age_with_filters_and_pages(api: RunningApi, region: str) -> None:
    made: list[str] = []
    for _ in range(3):
        _, roll = await call(api, "POST", f"regions/{region}/roll")
        await call(api, "POST", f"rolls/{roll['roll_id']}/stop")
        made.insert(0, roll["roll_id"])
    await call(api, "POST", f"rolls/{made[0]}/resume")

    async def listed(**query: str) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = await api.client.get(
                "/api/v1/fleet/rolls", headers=api.bearer("operator"), params={"region": region, "cursor": cursor, **query}
            )
            assert answer.status_code == 200, answer.text
            found += [each["roll_id"] for each in answer.json()["items"]]
            cursor = answer.json()["next_cursor"]
        return found

    assert await listed() == made
    assert await listed(limit="1") == made
    assert await listed(limit="2", state="stopped") == made[1:]
    assert await listed(state="running") == made[:1]
    answer = await api.client.get("/api/v1/fleet/rolls", headers=api.bearer("operator"), params={"cursor": "x"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.parametrize(
    "body",
    [
        {"max_unavailable": 0},
        {"max_unavailable": 1001},
        {"max_unavailable": 1.5},
        {"deadline_seconds": -1},
        {"deadline_seconds": 604_801},
        {"deadline_seconds": 10**30},
        {"reason": "x" * 201},
        {"reason": "a\u0000b"},
        {"why": 1},
    ],
)
async def test_a_wrong_field_is_named_and_changes_nothing(api: RunningApi, region: str, body: dict[str, Any]) -> None:
    status, problem = await call(api, "POST", f"regions/{region}/roll", **body)
    assert (status, problem["code"]) == (422, "fields_invalid")
    answer = await api.client.get("/api/v1/fleet/rolls", headers=api.bearer("operator"), params={"region": region})
    assert answer.json()["items"] == []


async def test_what_is_not_there_is_not_found(api: RunningApi) -> None:
    for path in ("regions/nowhere/roll", "regions/a%00b/roll", f"rolls/{uuid4()}/stop", "rolls/nonsense/resume"):
        status, problem = await call(api, "POST", path)
        assert (status, problem["code"]) == (404, "not_found"), path
    for path in (f"rolls/{uuid4()}", "rolls/nonsense", "rolls/%00"):
        assert (await call(api, "GET", path))[0] == 404, path


async def test_a_region_without_nodes_is_refused(api: RunningApi) -> None:
    await api.put_region("desert")
    status, problem = await call(api, "POST", "regions/desert/roll")
    assert (status, problem["detail"]) == (409, "The region has no nodes.")


async def test_the_overview_shows_one_that_stopped_by_itself_until_somebody_looks(
    api: RunningApi, region: str, module_database_url: str
) -> None:
    async def problems() -> list[str]:
        _, overview = await call(api, "GET", "overview")
        return [each["what"] for each in overview["problems"] if each["region"] == region and "roll" in each["what"]]

    _, roll = await call(api, "POST", f"regions/{region}/roll")
    assert await problems() == []
    connection = await asyncpg.connect(module_database_url)
    try:
        await connection.execute(
            "UPDATE rolls SET state = 'stopped', ended_at = now(), stopped_by = 'system', stopped_because = 'It rained.' "
            "WHERE id = $1",
            roll["roll_id"],
        )
    finally:
        await connection.close()

    async def is_shown() -> bool:
        return await problems() == [f"The roll of {region} has stopped. It rained."]

    await until(is_shown, within_seconds=10, what="the problem is shown")
    status, seen = await call(api, "POST", f"rolls/{roll['roll_id']}/stop", reason="seen")
    assert (status, seen["stopped_because"], seen["stopped_by"] == "system") == (200, "It rained.", False)
    assert await problems() == []


async def test_a_node_is_asked_for_a_restart_by_its_heartbeat(api: RunningApi, region: str, module_database_url: str) -> None:
    node = SimulatedNode(api, f"{region}-3", region)
    await node.bring_up()
    assert (await node.beat())["coturn_generation"] == 0
    connection = await asyncpg.connect(module_database_url)
    try:
        await connection.execute("UPDATE nodes SET coturn_generation = 7 WHERE name = $1", node.name)
        await call(api, "POST", f"nodes/{node.name}/drain", deadline_seconds=0)
        # Not before it is drained: an agent that has lost its count must not break calls.
        assert (await node.beat())["coturn_generation"] == 0
        drained = "UPDATE nodes SET secrets_withdrawn_at = now(), drained_at = now() WHERE name = $1"
        await connection.execute(drained, node.name)
    finally:
        await connection.close()

    async def asked() -> bool:
        return bool((await node.beat())["coturn_generation"] == 7)

    await until(asked, within_seconds=10, what="the reply asks for it")
    node.changes = {"coturn_generation": 7, "coturn_failure": "It failed."}
    assert (await node.beat())["coturn_generation"] == 7
    node.changes = {"coturn_generation": 2**31}
    assert (await node.send(node.heartbeat())).status_code == 422
    await api.client.delete(f"/api/v1/fleet/nodes/{node.name}", headers=api.bearer("operator"), params={"force": "true"})
