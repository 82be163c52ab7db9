"""The leader tries nodes from outside: the real jobs, a real coturn, and agents that say that all is well, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest_asyncio

from deploy.local.redis_server import RedisServer, private_redis
from tests.agents.places import LOOPBACK, free_port
from tests.relaying_fleet import RelayingFleet, relaying_fleet
from tests.running_api import RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import jobs_process

WITHIN = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_redis() -> AsyncIterator[RedisServer]:
    async with private_redis() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one(module_database_url: str, own_redis: RedisServer) -> AsyncIterator[RelayingFleet]:
    """A node behind a real coturn that somebody configured carelessly, tried each second."""
    async with relaying_fleet(module_database_url, own_redis.url, without="denied-peer-ip") as fleet:
        fleet.api.environment["TURNFLEET_OUTSIDE_PROBE_SECONDS"] = "1"
        async with jobs_process(fleet.api):
            yield fleet


@pytest_asyncio.fixture(autouse=True)
async def as_it_was(request: Any) -> AsyncIterator[None]:
    yield
    if "one" in request.fixturenames:
        fleet = request.getfixturevalue("one")
        await fleet.undrain()
        await fleet.report()
        await until(health_is(fleet.api, "eu-1", "up"), within_seconds=WITHIN, what="the node is as it was")


def health_is(api: RunningApi, name: str, health: str, reason: str | None = None) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        node = await api.node(name)
        return node["health"] == health and reason in {None, node["health_reason"]}

    return told


def seen(api: RunningApi, name: str, transport: str, *, ok: bool | None) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return (await evidence(api, name))[transport]["outside"]["ok"] is ok

    return told


async def evidence(api: RunningApi, name: str) -> dict[str, Any]:
    return {each["transport"]: each for each in (await api.node(name))["evidence"]}


async def events(url: str, kind: str) -> list[tuple[str, str, str]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT was, became, reason FROM fleet_events WHERE kind = $1 ORDER BY id", kind)
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


async def test_a_node_that_relays_is_up_with_three_kinds_of_evidence(one: RelayingFleet) -> None:
    for transport in ("udp", "tcp", "tls"):
        await until(seen(one.api, "eu-1", transport, ok=True), within_seconds=WITHIN, what=f"{transport} was tried")
    told = await evidence(one.api, "eu-1")
    assert [each["heartbeat"]["ok"] for each in told.values()] == [True] * 3
    assert all(each["outside"]["words"] == "" and each["outside"]["age_seconds"] < 5 for each in told.values())
    assert told["tls"]["outside"]["certificate_expires_at"] is not None
    assert told["udp"]["outside"]["certificate_expires_at"] is None
    node = await one.api.node("eu-1")
    assert (node["health"], node["outside"]["standing"]) == ("up", "good")


async def test_an_agent_that_says_all_is_well_does_not_help_a_node_nobody_reaches(one: RelayingFleet) -> None:
    await one.report(listeners=one.broken("udp"))
    took = await until(health_is(one.api, "eu-1", "down", "outside_probe_failed"), within_seconds=WITHIN)
    assert took > 1.5  # not by one failure
    node = await one.api.node("eu-1")
    assert node["health_detail"] == "From outside, udp: refused: nothing listens there."
    assert node["ineligible_because"] == ["down"]
    told = await evidence(one.api, "eu-1")
    assert (told["udp"]["heartbeat"]["ok"], told["udp"]["outside"]["ok"]) == (True, False)
    assert told["udp"]["outside"]["words"] == "refused: nothing listens there"
    await until(refused(one), what="selection knows it, too")
    await one.report()
    await until(health_is(one.api, "eu-1", "up", "reporting"), within_seconds=WITHIN)
    changes = [(was, became) for was, became, _ in await events(one.database_url, "node.outside")]
    assert changes[-2:] == [("good", "failed"), ("failed", "good")]


def refused(fleet: RelayingFleet) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return (await fleet.api.issue(json={"fixed_region": "eu-central"})).status_code == 503

    return told


async def test_one_listener_of_several_is_told_and_condemns_nobody(one: RelayingFleet) -> None:
    await one.report(listeners=one.broken("tls"))

    async def told() -> bool:
        problems = await open_problems(one.api)
        return any(each["what"] == "eu-1 fails from outside by tls: refused: nothing listens there." for each in problems)

    await until(told, within_seconds=WITHIN, what="the failing listener is an open problem")
    assert (await one.api.node("eu-1"))["health"] == "up"
    assert {name: each["outside"]["ok"] for name, each in (await evidence(one.api, "eu-1")).items()} == {
        "udp": True,
        "tcp": True,
        "tls": False,
    }


async def open_problems(api: RunningApi) -> list[dict[str, Any]]:
    answer = await api.client.get("/api/v1/fleet/overview", headers=api.bearer("operator"))
    return list(answer.json()["problems"])


async def test_a_relay_that_permits_forbidden_peers_is_an_event_and_a_critical_problem(one: RelayingFleet) -> None:
    async def told() -> bool:
        found = [each for each in await open_problems(one.api) if each["severity"] == "critical"]
        return any("169.254.169.254" in each["what"] for each in found)

    await until(told, within_seconds=WITHIN, what="the permitted peers are an open problem")
    outside = (await one.api.node("eu-1"))["outside"]
    assert "10.0.0.0" in outside["permitted_peers"]
    assert outside["peers_asked_at"] is not None
    assert (await one.api.node("eu-1"))["health"] == "up"
    assert (await events(one.database_url, "node.peers"))[0] == ("refused", "permitted", "forbidden_peers")


async def test_a_401_of_a_node_without_secrets_is_expected(one: RelayingFleet) -> None:
    secrets = one.secrets
    realm = "test.example"
    await one.relay.prepared.database.replace(realm, {})
    try:
        await one.report(secrets=[])
        await one.drain(withdrawn=True)

        async def expected() -> bool:
            told = (await evidence(one.api, "eu-1"))["udp"]["outside"]
            return bool(told["expected"] and told["words"].startswith("401"))

        await until(expected, within_seconds=WITHIN, what="401 is shown as expected")
        assert (await one.api.node("eu-1"))["outside"]["standing"] == "good"
    finally:
        await one.relay.prepared.database.replace(realm, secrets)


async def test_one_node_is_condemned_and_when_most_fail_the_place_they_are_tried_from_is_blamed(
    database_url: str, redis_url: str, folder: Path
) -> None:
    async with unreachable_fleet(database_url, redis_url, folder) as (api, make):
        await make("eu-1")
        await until(health_is(api, "eu-1", "down", "outside_probe_failed"), within_seconds=WITHIN)
        for name in ("eu-2", "eu-3", "eu-4"):
            await make(name)

        async def blamed() -> bool:
            return any("condemns nobody" in each["what"] for each in await open_problems(api))

        await until(blamed, within_seconds=WITHIN, what="the place is blamed")
        for number in range(1, 5):
            await until(health_is(api, f"eu-{number}", "up"), within_seconds=WITHIN)
        assert [became for _, became, _ in await events(database_url, "outside.place")] == ["at_fault"]


@asynccontextmanager
async def unreachable_fleet(
    database_url: str, redis_url: str, folder: Path
) -> AsyncIterator[tuple[RunningApi, Callable[[str], Awaitable[None]]]]:
    """To be filled with agents that say that all is well, without a coturn."""
    made: list[SimulatedNode] = []
    async with running_api(database_url, redis_url, folder, TURNFLEET_OUTSIDE_PROBE_SECONDS="1") as api:
        await api.put_region("eu-central")

        async def make(name: str) -> None:
            node = SimulatedNode(api, name, "eu-central")
            node.changes = {"listeners": [{"transport": "udp", "host": LOOPBACK, "port": free_port()}]}
            made.append(node)
            await node.join()
            await node.beat()
            node.keep_beating()

        try:
            async with jobs_process(api):
                yield api, make
        finally:
            for node in made:
                await node.stop_beating()
