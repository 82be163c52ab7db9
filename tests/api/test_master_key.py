"""The master key is changed under load: with every order of restarts nobody is refused, and a key that is missing is told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from controlplane.flows.master_keys import MasterKeys
from controlplane.wire.redacted import Redacted
from tests.running_api import MASTER_KEY, RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import jobs_process

NEW_KEY = base64.b64encode(bytes(range(32, 64))).decode()
OLD_ID, NEW_ID = (MasterKeys(Redacted(key)).current for key in (MASTER_KEY, NEW_KEY))
BOTH = {"TURNFLEET_MASTER_KEY": NEW_KEY, "TURNFLEET_MASTER_KEY_PREVIOUS": MASTER_KEY}


@pytest_asyncio.fixture(loop_scope="session")
async def replicas(database_url: str, redis_url: str, folder: Path) -> AsyncIterator[tuple[RunningApi, RunningApi]]:
    """Both with the old key, and a node that reports to each."""
    for each in ("a", "b"):
        (folder / each).mkdir()
    async with running_api(database_url, redis_url, folder / "a") as a, running_api(database_url, redis_url, folder / "b") as b:
        yield a, b


@pytest_asyncio.fixture(loop_scope="session")
async def nodes(replicas: tuple[RunningApi, RunningApi]) -> AsyncIterator[list[SimulatedNode]]:
    a, b = replicas
    await a.put_region("eu-central")
    await until(lambda: knows_the_region(b), what="the second replica knows the region")
    made = [SimulatedNode(api, f"eu-{number}", "eu-central") for number, api in enumerate((a, b))]
    for node in made:
        await node.bring_up()
        node.keep_beating()
    yield made
    for node in made:
        await node.stop_beating()


async def knows_the_region(api: RunningApi) -> bool:
    listed = (await api.client.get("/api/v1/fleet/regions", headers=api.bearer("operator"))).json()["items"]
    return len(listed) == 1


async def restart(api: RunningApi, **environment: str) -> None:
    await api.stop()
    api.environment = {**api.environment, **environment}
    await api.start()
    await until(lambda: is_ready(api), what="it is ready again")


async def is_ready(api: RunningApi) -> bool:
    return (await api.client.get("/readyz")).status_code == 200


async def key_of(api: RunningApi) -> dict[str, object]:
    answer = await api.client.get("/api/v1/fleet/master-key", headers=api.bearer("operator"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class Application:
    """Asks each replica again and again for credentials, and tries them at the node as coturn does."""

    def __init__(self, replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode]) -> None:
        self._replicas, self._nodes = replicas, {node.node_id: node for node in nodes}
        self.good = 0
        self.refused: list[str] = []

    async def run(self) -> None:
        while True:
            for api in self._replicas:
                with suppress(httpx.TransportError):  # it is being restarted
                    self._try(await api.issue(json={"fixed_region": "eu-central", "ttl": 1}))
            await asyncio.sleep(0.02)

    def _try(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self.refused.append(answer.text)
            return
        server = answer.json()["iceServers"][1]
        node = self._nodes[answer.headers["x-turn-node"]]
        made = {hmac.new(text.encode(), server["username"].encode(), hashlib.sha1).digest() for text in node.secrets.values()}
        if base64.b64decode(server["credential"]) in made:
            self.good += 1
        else:
            self.refused.append(f"{node.name} does not hold the secret of {server['username']}")


async def _change(replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode], *, to_the_end: bool) -> None:
    a, b = replicas
    application = Application(replicas, nodes)
    asking = asyncio.create_task(application.run())
    try:
        await restart(a, **BOTH)
        # The other replica does not have the new key yet: nothing may come from it.
        assert (await key_of(b))["key_id"] == OLD_ID
        assert (await key_of(a))["processes_with_another"] == 1
        await restart(b, **BOTH)
        async with jobs_process(b) as jobs:
            await until(jobs.leads)

            async def signs_with_the_new_key() -> bool:
                return all(2 in node.secrets for node in nodes) and (await key_of(a))["key_id"] == NEW_ID

            await until(signs_with_the_new_key, within_seconds=30, what="every node has a secret of the new key")
            assert (await key_of(b))["nodes"] == 2
            if to_the_end:

                async def is_over() -> bool:
                    return (await key_of(a))["nodes"] == 0

                await until(is_over, within_seconds=120, what="no node needs the old key")
                for api in replicas:
                    await restart(api, TURNFLEET_MASTER_KEY_PREVIOUS="")
                assert [set(node.secrets) for node in nodes] == [{2}, {2}]
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert application.refused == []
    assert application.good > 20


async def test_a_new_key_is_used_when_every_replica_has_it_and_nobody_is_refused(
    replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode]
) -> None:
    await _change(replicas, nodes, to_the_end=False)


@pytest.mark.full
async def test_the_old_key_can_be_taken_away_at_the_end(
    replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode]
) -> None:
    await _change(replicas, nodes, to_the_end=True)


async def test_a_replica_without_the_old_key_says_so_and_takes_nothing_from_the_fleet(
    replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode]
) -> None:
    a, b = replicas
    held = [dict(node.secrets) for node in nodes]
    await a.stop()
    a.environment = {**a.environment, "TURNFLEET_MASTER_KEY": NEW_KEY}
    await a.start()
    # The first node goes on reporting to the replica that cannot judge its secrets.
    before = nodes[0].sequence
    await until(lambda: _reported(nodes[0], before + 3), what="it reported to the replica without the key")
    # Even one that has lost its secrets is told to keep them, and given none that do not fit.
    bare = await nodes[0].send(nodes[0].heartbeat() | {"secrets": []})
    assert (bare.status_code, bare.json()["secret_versions"], bare.json()["secrets"]) == (200, [1], [])
    ready = await a.client.get("/readyz")
    assert ready.status_code == 503
    (reason,) = ready.json()["reasons"]
    assert "eu-0, eu-1" in reason
    assert OLD_ID in reason
    assert "TURNFLEET_MASTER_KEY_PREVIOUS" in reason
    assert (await a.issue(json={"fixed_region": "eu-central"})).status_code == 503
    assert [node.secrets for node in nodes] == held
    await until(lambda: _takes_clients(b, "eu-0"), what="it reported what it holds again")
    assert (await b.issue(json={"fixed_region": "eu-central"})).status_code == 200
    assert (await key_of(b))["key_id"] == OLD_ID
    assert MASTER_KEY not in a.log_file.read_text()
    assert "master_key_missing" in a.log_file.read_text()


async def _takes_clients(api: RunningApi, name: str) -> bool:
    return bool((await api.node(name))["eligible"])


async def _reported(node: SimulatedNode, sequence: int) -> bool:
    return node.sequence >= sequence


@pytest.mark.full
async def test_a_lost_key_is_replaced_by_hand(replicas: tuple[RunningApi, RunningApi], nodes: list[SimulatedNode]) -> None:
    a, b = replicas
    for api in replicas:
        await api.stop()
        api.environment = {**api.environment, "TURNFLEET_MASTER_KEY": NEW_KEY}
        await api.start()
    assert (await key_of(a))["key_id"] == OLD_ID
    assert await a.command("admin", "use-master-key") == 0
    async with jobs_process(b) as jobs:
        await until(jobs.leads)

        async def has_come_back() -> bool:
            return (await a.issue(json={"fixed_region": "eu-central"})).status_code == 200 and await is_ready(b)

        await until(has_come_back, within_seconds=30, what="the nodes have secrets of the new key")
        assert all(set(node.secrets) == {1, 2} for node in nodes), "what was issued before stays good"
