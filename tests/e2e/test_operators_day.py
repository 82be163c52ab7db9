"""An operator's day with three real relays: at each step the API, the CLI, the events and the metrics say the same."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.relay_check import RelayFailed, check_relay, turn_servers
from tests.cli.running_cli import Cli, cli_for
from tests.e2e.callers import port_is_taken
from tests.e2e.fresh_stack import CPU_DOES_NOT_COUNT
from tests.e2e.relay_host import RelayHost, relay_hosts
from tests.running_api import RunningApi, running_api, until
from tests.running_jobs import jobs_process

REGION = "eu-central"
NAMES = ("relay-1", "relay-2", "relay-3")
TTL_SECONDS = 3
UP, CORDONED = ("up", "active", True), ("up", "cordoned", False)
WITHIN_SECONDS = 40.0


@dataclass(slots=True)
class Callers:
    """Applications whose users call all the while: a credential, and at once a packet through the relay."""

    api: RunningApi
    relayed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    hung_up: bool = False
    """No new calls; those that are being made end by themselves."""

    async def call(self) -> None:
        while not self.hung_up:
            answer = await self.api.issue(json={"fixed_region": REGION, "ttl": TTL_SECONDS})
            if answer.status_code != 200:
                self.failures.append(answer.text)
                await asyncio.sleep(0.1)
                continue
            server = next(each for each in turn_servers(answer.json()["iceServers"]) if each.url.endswith("=udp"))
            try:
                await check_relay(server, deadline=timedelta(seconds=2))
            except RelayFailed as failed:
                if not port_is_taken(str(failed)):
                    self.failures.append(str(failed))
            else:
                self.relayed[answer.headers["x-turn-node"]] += 1
            await asyncio.sleep(0.2)


@asynccontextmanager
async def calling(api: RunningApi) -> AsyncIterator[Callers]:
    callers = Callers(api)
    tasks = [asyncio.create_task(callers.call()) for _ in range(3)]
    try:
        yield callers
    finally:
        callers.hung_up = True
        await asyncio.gather(*tasks)


class Day:
    """What the operator has in hand: the CLI, and three ways to check what it says."""

    def __init__(self, api: RunningApi, cli: Cli, hosts: dict[str, RelayHost]) -> None:
        self.api, self.cli, self.hosts = api, cli, hosts
        self.expected: dict[str, tuple[str, str, bool]] = {}

    async def turnfleet(self, *arguments: str) -> str:
        """A command that goes well; what it printed."""
        ended = await self.cli(*arguments)
        assert ended.status == 0, (arguments, ended.err)
        return ended.out

    async def everybody_agrees(self, **changed: tuple[str, str, bool]) -> None:
        """On health, intent and eligibility of every node, within a while. `changed`: by name, `_` for `-`."""
        self.expected |= {name.replace("_", "-"): state for name, state in changed.items()}
        said: dict[str, Any] = {}

        async def agreed() -> bool:
            said.update(await self._said())
            return all(each == said["expected"] for each in said.values())

        try:
            await until(agreed, within_seconds=WITHIN_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"They do not agree: {said}") from error

    async def _said(self) -> dict[str, Any]:
        """By who says it: what it says of the nodes' states."""
        nodes = (await self._get("/api/v1/fleet/nodes"))["items"]
        overview = await self._get("/api/v1/fleet/overview")
        events = {name: await self._told(name) for name in self.expected}
        healths = Counter(health for health, _, _ in self.expected.values())
        eligible = sum(takes for _, _, takes in self.expected.values())
        return {
            "expected": (self.expected, healths, eligible),
            "api": ({each["name"]: _state(each) for each in nodes}, _counts(overview["totals"]), _eligible(overview)),
            "cli": ({name: await self._shown(name) for name in self.expected}, healths, eligible),
            "events": ({name: (*events[name], self.expected[name][2]) for name in self.expected}, healths, eligible),
            "metrics": (self.expected, *await self._measured()),
        }

    async def _shown(self, name: str) -> tuple[str, str, bool] | None:
        """None: it is not there yet."""
        ended = await self.cli("node", "show", name, "--json")
        return _state(ended.json()) if ended.status == 0 else None

    async def _told(self, name: str) -> tuple[str, str]:
        """Health and intent by the newest events, which the CLI must show as the API does."""
        told = (await self._get("/api/v1/fleet/events", node=name, limit="100"))["items"]
        shown = (await self.cli("node", "events", name, "--json", "--limit", "100")).json_lines()
        if told != shown[-len(told) :]:  # the CLI was asked a moment later
            return ("events differ", "between API and CLI")
        newest = {event["kind"]: event["became"] for event in reversed(told)}
        return str(newest.get("node.health")), str(newest.get("node.intent", "active"))

    async def _measured(self) -> tuple[Counter[str], int]:
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(self.api.metrics_url)).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        healths = Counter({each.labels["health"]: int(each.value) for each in samples if each.name == "turnfleet_nodes"})
        return +healths, int(sum(each.value for each in samples if each.name == "turnfleet_eligible_nodes"))

    async def node_id(self, name: str) -> str:
        return str((await self.api.node(name))["node_id"])

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = await self.api.client.get(path, headers=self.api.bearer("operator"), params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def _state(node: dict[str, Any]) -> tuple[str, str, bool]:
    return node["health"], node["intent"], node["eligible"]


def _counts(totals: dict[str, Any]) -> Counter[str]:
    return +Counter(totals["nodes_by_health"])


def _eligible(overview: dict[str, Any]) -> int:
    return int(overview["totals"]["eligible_nodes"])


@asynccontextmanager
async def a_day(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Day]:
    async with (
        running_api(database_url, redis_url, folder, TURNFLEET_OUTSIDE_PROBE_SECONDS="5", **CPU_DOES_NOT_COUNT) as api,
        jobs_process(api),
        relay_hosts(*NAMES) as hosts,
    ):
        await api.put_region(REGION)
        yield Day(api, cli_for(api, folder, "operator"), hosts)


@pytest.mark.full  # three minutes; its steps have tests of their own in the default tier
@pytest.mark.timeout(900)
async def test_the_operators_day(database_url: str, redis_url: str, folder: Path) -> None:
    async with a_day(database_url, redis_url, folder) as day:
        await join(day)
        await lose_one_and_get_it_back(day)
        await cordon(day)
        await drain_under_load(day)
        await rotate_under_load(day)
        await upgrade_under_load(day)
        await forget(day)
        for host in day.hosts.values():
            await host.leave()


async def join(day: Day) -> None:
    for name in NAMES:
        await day.hosts[name].join(await day.turnfleet("node", "join-token", "--region", REGION, "--name", name))
    await day.everybody_agrees(relay_1=UP, relay_2=UP, relay_3=UP)


async def lose_one_and_get_it_back(day: Day) -> None:
    await day.hosts["relay-3"].vanish()
    await day.everybody_agrees(relay_3=("down", "active", False))
    async with calling(day.api) as callers:
        await until(lambda: relayed(callers, 20), what="the two that are left relay")
    assert callers.failures == []
    assert set(callers.relayed) <= {await day.node_id("relay-1"), await day.node_id("relay-2")}
    await day.hosts["relay-3"].start()
    await day.everybody_agrees(relay_3=UP)


async def cordon(day: Day) -> None:
    await day.turnfleet("node", "cordon", "relay-1", "--reason", "a look at its cables")
    await day.everybody_agrees(relay_1=CORDONED)
    assert "a look at its cables" in await day.turnfleet("node", "show", "relay-1")
    await day.turnfleet("node", "uncordon", "relay-1")
    await day.everybody_agrees(relay_1=UP)


async def drain_under_load(day: Day) -> None:
    async with calling(day.api) as callers:
        await until(lambda: relayed(callers, 10), what="there is load")
        await day.turnfleet("node", "drain", "relay-2", "--deadline", "30s", "--reason", "a new kernel", "--wait")
        await day.everybody_agrees(relay_2=("unknown", "draining", False))
        await day.turnfleet("node", "undrain", "relay-2")
        await day.everybody_agrees(relay_2=UP)
    assert callers.failures == []


async def rotate_under_load(day: Day) -> None:
    async with calling(day.api) as callers:
        await until(lambda: relayed(callers, 10), what="there is load")
        await day.turnfleet("secret", "rotate", "--all", "--reason", "it is spring")

        async def rotated() -> bool:
            rows = (await day.cli("secret", "status", "--json")).json_lines()
            return [[each["version"] for each in row["versions"]] for row in rows] == [[2]] * len(NAMES)

        await until(rotated, within_seconds=60, what="every node has its new secret, and only that")
        more = callers.relayed.total() + 10
        await until(lambda: relayed(callers, more), what="the new secrets are taken")
    assert callers.failures == []
    await day.everybody_agrees()


async def upgrade_under_load(day: Day) -> None:
    async with calling(day.api) as callers:
        await until(lambda: relayed(callers, 10), what="there is load")
        rolled = await day.turnfleet("region", "roll", REGION, "--max-unavailable", "1", "--deadline", "30s", "--json")
        assert json.loads(rolled)["state"] == "finished"
        await day.everybody_agrees()
    assert callers.failures == []
    assert [host.upgrades for host in day.hosts.values()] == [1] * len(NAMES)
    print(f"{callers.relayed.total()} allocations while three relays were restarted")
    for kind in ("roll.started", "roll.finished"):
        assert len((await day.cli("events", "list", "--kind", kind, "--json")).json_lines()) == 1


async def forget(day: Day) -> None:
    refused = await day.cli("node", "forget", "relay-3", "--yes")
    assert refused.status == 1, "it is in service"
    await day.hosts["relay-3"].leave()
    await day.everybody_agrees(relay_3=("down", "active", False))
    await day.turnfleet("node", "forget", "relay-3", "--yes")
    del day.expected["relay-3"]
    await day.everybody_agrees()
    assert (await day.cli("node", "show", "relay-3")).status == 4
    told = (await day.cli("events", "list", "--kind", "node.forgotten", "--json")).json_lines()
    assert [event["region"] for event in told] == [REGION]


async def relayed(callers: Callers, count: int) -> bool:
    return callers.relayed.total() >= count
