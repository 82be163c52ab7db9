"""Three regions of four real coturns: real clients fill one of them, and new credentials go where the code says in virtual time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.in_flight import VISIBLE_AFTER_SECONDS
from controlplane.fleet.model import Capacity
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import Selection, select
from controlplane.fleet.view import FleetView
from controlplane.turn.client import TurnClient
from controlplane.wire.redacted import Redacted
from deploy.local.relay_check import TURN_URL
from tests.builders import AT, make_load, make_node, make_record, make_region, make_report
from tests.e2e.application import Application, server_of
from tests.e2e.fresh_stack import fresh_stack
from tests.running_api import running_api, until

REGION = "eu-central"
NODES = 4
CAPACITY = 40
"""Allocations of a node: 29 of them are its safe capacity."""
LIVE = 20
"""Real allocations on one node."""
BURST = 45
"""Credentials that are asked for within a few seconds: 15 for each of the other nodes bring those to 0.5, still below the 0.7 of
the full one."""
LONGER = 90
"""So many that the full one gets some, too."""
PER_SECOND = 30.0
AWAY = 0.12
"""Of all credentials, by which a node's share may differ from what is expected: best of three is drawn."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def application() -> AsyncIterator[Application]:
    size = {"regions": (REGION, "us-east", "ap-southeast"), "nodes_per_region": NODES}
    async with fresh_stack({"TURNFLEET_AGENT_TOTAL_QUOTA": str(CAPACITY)}, **size) as stack:
        application = Application(stack)
        yield application
        await application.client.aclose()


async def loads(application: Application) -> dict[str, dict[str, float]]:
    """What the region's nodes reported, by id."""
    headers = {"authorization": f"Bearer {application.stack.ready['operator_token']}"}
    found = {}
    for each in application.stack.ready["nodes"]:
        if each["region"] == REGION:
            answer = await application.client.get(f"/api/v1/fleet/nodes/{each['node_id']}", headers=headers)
            found[each["node_id"]] = dict(answer.json()["load"])
    return found


@asynccontextmanager
async def filled(application: Application) -> AsyncIterator[str]:
    """A node with real allocations, after what was in flight to the others has faded; its id."""
    async with AsyncExitStack() as stack:
        answer = await application.issue(fixed_region=REGION, ttl=300)
        node_id = answer.headers["x-turn-node"]
        server = server_of(answer, "udp")
        parts = TURN_URL.fullmatch(server.url)
        assert parts is not None
        _, host, port, _ = parts.groups()
        for _ in range(LIVE):
            client = TurnClient(username=server.username, password=Redacted(server.credential))
            stack.callback(client.close)
            async with asyncio.timeout(5):
                await client.connect_udp(host, int(port))
                await client.allocate()
            stack.push_async_callback(client.release)

        placed_at = time.monotonic()

        async def shown() -> bool:
            if time.monotonic() - placed_at < VISIBLE_AFTER_SECONDS + 4:
                return False
            return {each: load["allocations"] for each, load in (await loads(application)).items()} == {
                each["node_id"]: LIVE if each["node_id"] == node_id else 0
                for each in application.stack.ready["nodes"]
                if each["region"] == REGION
            }

        await until(shown, within_seconds=40, what="its load is reported, and nothing is in flight any more")
        yield node_id


async def given(clients: Sequence[httpx.AsyncClient], token: str, count: int) -> Counter[str]:
    """How many of so many credentials each node got, asked for at an even pace and of one replica after the other."""
    found: Counter[str] = Counter()
    for number in range(count):
        answer = await clients[number % len(clients)].post(
            "/api/v1/credentials/ice", headers={"authorization": f"Bearer {token}"}, json={"fixed_region": REGION}
        )
        assert answer.status_code == 200, answer.text
        found[answer.headers["x-turn-node"]] += 1
        await asyncio.sleep(1 / PER_SECOND)
    return found


def expected(reported: Mapping[str, Mapping[str, float]], count: int) -> dict[str, float]:
    """The mean over runs of the same in virtual time. The CPU is the machine's, the same for all of them."""
    node_ids = sorted(reported)
    cpu_ratio = max(load["cpu_ratio"] for load in reported.values())
    runs = 40
    found: Counter[str] = Counter()
    for seed in range(runs):
        draw = random.Random(seed).random
        view = FleetView(policy=Policy())
        view.set_directory([make_region(REGION)], [make_node(node_id, region=REGION) for node_id in node_ids])
        capacity = Capacity(bits_per_second=1e9, allocations=CAPACITY, source="stated")
        now = 1000.0
        for number in range(count):
            if number % round(2 * PER_SECOND) == 0:
                for node_id in node_ids:
                    load = make_load(allocations=int(reported[node_id]["allocations"]), cpu_ratio=cpu_ratio)
                    report = make_report(sequence=7 + number, capacity=capacity, load=load)
                    view.put_record(node_id, make_record(report=report), received=now)
            if number % round(PER_SECOND) == 0:
                view.rebuild(now=now, wall=AT)
            chosen = select(view.table, ranked=None, fixed=REGION, weight=Conversion().weight(None), draw=draw, policy=view.policy)
            assert isinstance(chosen, Selection)
            node_id = chosen.contenders[0].node_id
            view.place(node_id, chosen.share)
            found[node_id] += 1
            now += 1 / PER_SECOND
    return {node_id: found[node_id] / runs for node_id in node_ids}


@pytest.mark.full
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("count", [BURST, LONGER])
async def test_new_credentials_go_where_virtual_time_says(
    application: Application, folder: Path, replicas: int, count: int
) -> None:
    ready = application.stack.ready
    async with AsyncExitStack() as stack:
        clients = [application.client]
        if replicas == 2:
            second = await stack.enter_async_context(running_api(ready["database_url"], ready["redis_url"], folder))
            clients.append(second.client)
        full = await stack.enter_async_context(filled(application))
        found = await given(clients, ready["project_token"], count)
        reported = await loads(application)
    model = expected(reported, count)
    told = {node_id: (found[node_id], round(model[node_id], 1)) for node_id in model}
    print(f"\n{replicas} replicas, {count} credentials, node {full} full: got and expected {told}")
    assert sum(found.values()) == count
    for node_id in model:
        assert abs(found[node_id] - model[node_id]) <= AWAY * count, told
    assert found[full] == min(found[node_id] for node_id in model), told
