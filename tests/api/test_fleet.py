"""Regions, nodes, joining, heartbeats, readiness: the rest of the API, on the wire."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from controlplane.wire.token_format import make_token
from tests.running_api import RunningApi, SimulatedNode, running_api, until


async def test_regions_have_eight_keys_and_no_null(api: RunningApi) -> None:
    answer = await api.client.get("/api/v1/regions", headers=api.bearer("project") | {"content-type": "application/json"})
    assert answer.status_code == 200
    regions = answer.json()
    assert isinstance(regions, list)
    for region in regions:
        assert list(region) == ["slug", "nat2", "city", "name", "lat", "lon", "is_online", "is_operational"]
        assert None not in region.values()
    by_slug = {region["slug"]: region for region in regions}
    assert by_slug["eu-central"] == {
        "slug": "eu-central", "nat2": "DE", "city": "City", "name": "eu-central", "lat": 50.11, "lon": 8.68,
        "is_online": True, "is_operational": True,
    }  # fmt: skip


async def test_a_region_without_nodes_is_neither_online_nor_operational(api: RunningApi) -> None:
    await api.put_region("ap-south", 19.08, 72.88, "IN")

    async def listed() -> bool:
        regions = (await api.client.get("/api/v1/regions", headers=api.bearer("project"))).json()
        return {"ap-south": (False, False)}.items() <= {r["slug"]: (r["is_online"], r["is_operational"]) for r in regions}.items()

    await until(listed, within_seconds=3)
    answer = await api.issue(json={"fixed_region": "ap-south"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "region_down", "5")


@pytest.mark.parametrize(
    "path", ["/api/v1/fleet/overview", "/api/v1/fleet/regions", "/api/v1/fleet/nodes", "/api/v1/fleet/nodes/eu-1"]
)
async def test_the_fleet_is_for_operators(api: RunningApi, path: str) -> None:
    assert (await api.client.get(path, headers=api.bearer("operator"))).status_code == 200
    assert (await api.client.get(path, headers=api.bearer("project"))).status_code == 403
    assert (await api.client.get(path, headers=api.bearer("organization"))).status_code == 403
    assert (await api.client.get(path)).status_code == 401


async def test_the_overview_tells_what_is_and_what_is_wrong(api: RunningApi) -> None:
    node = SimulatedNode(api, "eu-broken", "eu-central")
    await node.bring_up()
    node.changes = {
        "probe": {
            "ok": False,
            "age_seconds": 0.1,
            "listeners": [{"transport": "udp", "ok": False, "failure": "no answer within 2 s"}],
        }
    }
    await node.beat()

    async def told() -> bool:
        overview = (await api.client.get("/api/v1/fleet/overview", headers=api.bearer("operator"))).json()
        return any("no answer within 2 s" in problem["what"] for problem in overview["problems"])

    assert await until(told, within_seconds=2) < 1
    overview = (await api.client.get("/api/v1/fleet/overview", headers=api.bearer("operator"))).json()
    assert overview["worst_nodes"][0]["name"] == "eu-broken"
    assert overview["totals"]["nodes_by_health"]["down"] == 1
    assert overview["degraded"] == {
        "view_held": False, "redis_unreachable": False, "database_unreachable": False, "journal_failing": False,
        "journal_backlog_bytes": overview["degraded"]["journal_backlog_bytes"],
    }  # fmt: skip


async def test_nodes_are_listed_by_name_in_pages(api: RunningApi) -> None:
    first = (await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator"), params={"limit": 1})).json()
    assert [node["name"] for node in first["items"]] == ["eu-1"]
    rest = (
        await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator"), params={"cursor": first["next_cursor"]})
    ).json()
    assert "us-1" in [node["name"] for node in rest["items"]]
    assert rest["next_cursor"] is None
    only = (await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator"), params={"region": "us-east"})).json()
    assert [node["name"] for node in only["items"]] == ["us-1"]
    for limit in ("0", "501", "many"):
        assert (
            await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator"), params={"limit": limit})
        ).status_code in {400, 422}


async def test_a_node_shows_everything_with_its_reason(api: RunningApi) -> None:
    node = await api.node("us-1")
    assert (node["health"], node["health_reason"], node["eligible"], node["ineligible_because"]) == ("up", "reporting", True, [])
    assert (node["coturn"]["state"], node["coturn"]["version"]) == ("running", "4.6.1")
    assert (node["secret_versions"], node["secret_versions_loaded"], node["signing_version"]) == ([1], [1], 1)
    assert abs(node["clock_offset_seconds"]) < 1
    assert node["capacity"]["source"] == "stated"
    assert node["last_report_age_seconds"] < 5
    by_id = await api.client.get(f"/api/v1/fleet/nodes/{node['node_id']}", headers=api.bearer("operator"))
    assert by_id.json()["name"] == "us-1"
    assert (await api.client.get("/api/v1/fleet/nodes/nobody", headers=api.bearer("operator"))).status_code == 404


@pytest.mark.parametrize(
    ("slug", "body", "status"),
    [
        ("Bad_Slug", {"name": "n", "city": "c", "country": "DE", "latitude": 1, "longitude": 1}, 422),
        ("x", {"name": "n", "city": "c", "country": "Germany", "latitude": 1, "longitude": 1}, 422),
        ("x", {"name": "n", "city": "c", "country": "DE", "latitude": 91, "longitude": 1}, 422),
        ("x", {"name": "", "city": "c", "country": "DE", "latitude": 1, "longitude": 1}, 422),
        ("x", {"name": "n\x00", "city": "c", "country": "DE", "latitude": 1, "longitude": 1}, 422),
        ("x", {"name": "n"}, 422),
        ("x", [], 422),
    ],
)
async def test_a_wrong_region_changes_nothing(api: RunningApi, slug: str, body: Any, status: int) -> None:
    answer = await api.client.put(f"/api/v1/fleet/regions/{slug}", headers=api.bearer("operator"), json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, "fields_invalid")
    assert slug not in [
        region["slug"] for region in (await api.client.get("/api/v1/regions", headers=api.bearer("project"))).json()
    ]


async def test_a_join_token_for_an_unknown_region_is_refused(api: RunningApi) -> None:
    answer = await api.client.post("/api/v1/fleet/join-tokens", headers=api.bearer("operator"), json={"region": "atlantis"})
    assert (answer.status_code, answer.json()["code"]) == (422, "region_unknown")


async def test_a_join_token_is_good_once(api: RunningApi) -> None:
    body = {"join_token": await api.join_token("eu-central", name="eu-once"), "join_nonce": "nonce-one", "name": "eu-once"}
    assert (await api.client.post("/api/v1/agents/join", json=body)).status_code == 200
    assert (await api.client.post("/api/v1/agents/join", json=body)).status_code == 200  # the answer was lost
    answer = await api.client.post("/api/v1/agents/join", json=body | {"join_nonce": "nonce-two"})
    assert (answer.status_code, answer.json()["code"]) == (403, "join_refused")


async def test_a_version_signs_only_after_the_node_reported_it(api: RunningApi) -> None:
    node = SimulatedNode(api, "eu-unsigned", "eu-central")
    await node.join()
    for _ in range(3):
        answer = await node.send(node.heartbeat())
        assert [secret["version"] for secret in answer.json()["secrets"]] == [1]
    shown = await api.node("eu-unsigned")
    assert shown["ineligible_because"] == ["secret_missing"]
    assert shown["signing_version"] is None
    wrong = node.heartbeat() | {"secrets": [{"version": 1, "digest": "0" * 16}]}
    assert (await node.send(wrong)).json()["secrets"] is not None
    assert (await api.node("eu-unsigned"))["secrets_drifted"] is True
    await node.beat()
    reply = await node.beat()
    assert reply["secrets"] is None
    await until(node.is_up, within_seconds=2)


@pytest.mark.parametrize(
    ("changes", "health", "reason"),
    [
        ({"coturn": {"state": "dead", "version": "4.6.1", "boot_id": "coturn-boot-1"}}, "down", "coturn_dead"),
        ({"probe": None, "coturn": {"state": "running", "boot_id": "coturn-boot-2"}}, "unknown", "probe_missing"),
        ({"probe": {"ok": True, "age_seconds": 31, "listeners": []}}, "unknown", "probe_missing"),
        ({"probe": {"ok": False, "age_seconds": 0.1, "listeners": []}}, "down", "probe_failed"),
        ({"listeners": []}, "up", "reporting"),
    ],
)
async def test_bad_news_take_a_node_out_at_once_and_two_good_reports_bring_it_back(
    api: RunningApi, changes: dict[str, Any], health: str, reason: str
) -> None:
    node = SimulatedNode(api, f"eu-news-{abs(hash(str(changes)))}", "eu-central")
    await node.bring_up()
    node.changes = changes
    await node.beat()
    shown = await api.node(node.name)
    assert (shown["health"], shown["health_reason"], shown["eligible"]) == (health, reason, False)
    node.changes = {}
    await node.beat()
    await node.beat()
    await until(node.is_up, within_seconds=2)


@pytest.mark.parametrize("offset", [6.0, -6.0])
async def test_a_node_whose_clock_is_off_is_taken_out_with_that_reason(api: RunningApi, offset: float) -> None:
    node = SimulatedNode(api, f"eu-clock{offset:+.0f}".replace("+", "p"), "eu-central")
    await node.bring_up()
    for _ in range(2):  # a single late report makes a clock look slow: two in a row count
        node.changes = {"sent_at": time.time() + offset}
        await node.beat()
    shown = await api.node(node.name)
    assert (shown["health"], shown["health_reason"], shown["eligible"]) == ("down", "clock_offset", False)
    assert shown["clock_offset_seconds"] == pytest.approx(offset, abs=1)
    assert "clock" in shown["health_detail"]


async def test_goodbye_counts_at_once_and_only_from_the_same_run(api: RunningApi) -> None:
    node = SimulatedNode(api, "eu-leaving", "eu-central")
    await node.bring_up()
    headers = {"authorization": f"Bearer {node.token}"}
    answer = await api.client.post("/api/v1/agents/leave", headers=headers, json={"boot_id": "another-run", "sequence": 9})
    assert answer.status_code == 204
    assert (await api.node("eu-leaving"))["health"] == "up"
    answer = await api.client.post(
        "/api/v1/agents/leave", headers=headers, json={"boot_id": node.boot_id, "sequence": 9, "reason": "stop"}
    )
    assert answer.status_code == 204
    assert (await api.node("eu-leaving"))["health_reason"] == "goodbye"


async def test_a_duplicate_heartbeat_renews_nothing(api: RunningApi) -> None:
    node = SimulatedNode(api, "eu-twice", "eu-central")
    await node.bring_up()
    beat = node.heartbeat()
    assert (await node.send(beat)).status_code == 200
    replayed = beat | {"coturn": {"state": "dead"}}
    assert (await node.send(replayed)).status_code == 200
    assert (await api.node("eu-twice"))["health"] == "up"


@pytest.mark.parametrize("token", [None, "nonsense", "operator", "other"])
async def test_only_a_node_token_beats(api: RunningApi, token: str | None) -> None:
    headers = {None: {}, "nonsense": {"authorization": "Bearer tfn_nonsense"}, "operator": api.bearer("operator")}.get(token, {})
    if token == "other":
        headers = {"authorization": f"Bearer {make_token('node', b'y' * 32)[0].reveal()}"}
    answer = await api.client.post("/api/v1/agents/heartbeat", headers=headers, json={})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 50_000, b'{"boot_id": 1}'])
async def test_a_malformed_heartbeat_is_a_4xx(api: RunningApi, content: bytes) -> None:
    node = SimulatedNode(api, f"eu-malformed-{abs(hash(content))}", "eu-central")
    await node.join()
    answer = await api.client.post("/api/v1/agents/heartbeat", headers={"authorization": f"Bearer {node.token}"}, content=content)
    assert answer.status_code in {400, 422}, answer.text


async def test_liveness_readiness_and_metrics(api: RunningApi) -> None:
    assert (await api.client.get("/healthz")).json() == {"alive": True}
    assert (await api.client.get("/readyz")).json() == {"ready": True, "reasons": [], "degraded": []}
    await api.issue()
    metrics = (await api.client.get(api.metrics_url)).text
    assert 'turnfleet_credentials_issued_total{region="' in metrics
    assert 'turnfleet_heartbeats_total{outcome="taken"}' in metrics


async def test_unknown_addresses_are_problem_documents(api: RunningApi) -> None:
    for path in ("/", "/nothing", "/api/v1/nothing", "/docs/errors/nothing", "/api/v1/fleet/nodes/%00"):
        answer = await api.client.get(path, headers=api.bearer("operator"))
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
    answer = await api.client.delete("/api/v1/regions", headers=api.bearer("operator"))
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


async def test_a_deleted_or_expired_token_stops_working_within_a_second_or_so(api: RunningApi) -> None:
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])
    status = await api.command(
        "admin", "bootstrap", "--organization", "gone", "--project", "gone", "--output", str(api.log_file.parent / "gone.json")
    )
    assert status == 0
    token = (api.log_file.parent / "gone.json").read_text().split('"project_token": "')[1].split('"')[0]
    headers = {"authorization": f"Bearer {token}"}

    async def works() -> bool:
        return (await api.client.post("/api/v1/credentials/ice", headers=headers)).status_code == 200

    async def refused() -> bool:
        return (await api.client.post("/api/v1/credentials/ice", headers=headers)).status_code == 401

    await until(works, within_seconds=7)
    await connection.execute("UPDATE tokens SET deleted_at = now() WHERE id = $1", token[4:16])
    assert await until(refused, within_seconds=5) < 2.5
    await connection.execute(
        "UPDATE tokens SET deleted_at = NULL, expires_at = now() - interval '1 second' WHERE id = $1", token[4:16]
    )
    await until(refused, within_seconds=5)
    await connection.close()


async def test_cors_is_off_unless_set(api: RunningApi, database_url: str, redis_url: str, folder: Path) -> None:
    origin = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in (await api.issue(headers=origin)).headers
    async with running_api(database_url, redis_url, folder, TURNFLEET_CORS_ORIGINS="https://app.example") as other:
        answer = await other.issue(headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        preflight = await other.client.options("/api/v1/credentials/ice", headers=origin)
        assert preflight.status_code in {200, 204}
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"


async def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    api: RunningApi, database_url: str, redis_url: str, folder: Path
) -> None:
    forwarded = {"x-forwarded-for": "8.8.8.8, 193.0.6.139, 10.0.0.7"}
    assert (await api.issue(headers=forwarded)).headers["x-turn-selection"] == "least-loaded"
    async with running_api(database_url, redis_url, folder, TURNFLEET_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8") as other:
        await other.put_region("eu-central")
        node = SimulatedNode(other, "eu-9", "eu-central")
        await node.bring_up()
        answer = await other.issue(headers=forwarded)
        assert answer.headers["x-turn-selection"] == "nearest"
