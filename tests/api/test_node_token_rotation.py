"""The next token of a node: offered until it was shown, by whichever replica, and nobody is ever locked out meanwhile."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from agents import identity
from agents.badge import AGAIN_SECONDS, Badge
from agents.identity import Identity
from agents.link import Answered, Link, Outcome, Refused
from controlplane.fleet.model import Node
from controlplane.flows.directory import Directory
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_tokens import NodeTokens, TokenAger, confirm_token
from controlplane.postgres_store.database import Database
from controlplane.wire.agent_api import Heartbeat, HeartbeatReply
from controlplane.wire.redacted import Redacted
from deploy.local.redis_server import RedisServer
from tests.agents.places import DISK
from tests.databases import PatientDatabase
from tests.running_api import MASTER_KEY, RunningApi, SimulatedNode, running_api, until

REGION = "eu-central"
OPERATE = "/api/v1/fleet/nodes"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replicas(module_database_url: str, redis: RedisServer) -> AsyncIterator[tuple[RunningApi, RunningApi]]:
    """Two API processes on the same stores."""
    folders = [Path(tempfile.mkdtemp(prefix="turnfleet-test-")) for _ in range(2)]
    async with AsyncExitStack() as running:
        one, two = [await running.enter_async_context(running_api(module_database_url, redis.url, folder)) for folder in folders]
        await one.put_region(REGION)
        yield one, two
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


async def joined(api: RunningApi, name: str) -> SimulatedNode:
    node = SimulatedNode(api, name, REGION)
    await node.join()
    await node.beat()
    return node


async def rotate(api: RunningApi, name: str, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(f"{OPERATE}/{name}/token/rotate", headers=api.bearer("operator"), json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def status_of(api: RunningApi, node: SimulatedNode, token: str) -> int:
    answer = await api.client.post("/api/v1/agents/heartbeat", headers={"authorization": f"Bearer {token}"}, json=node.heartbeat())
    return answer.status_code


async def offered_by(api: RunningApi, node: SimulatedNode) -> str | None:
    answer = await api.client.post(
        "/api/v1/agents/heartbeat", headers={"authorization": f"Bearer {node.token}"}, json=node.heartbeat()
    )
    assert answer.status_code == 200, answer.text
    token: str | None = answer.json()["node_token"]
    return token


async def events_of(api: RunningApi, name: str) -> list[tuple[str, str]]:
    answer = await api.client.get(
        "/api/v1/fleet/events", headers=api.bearer("operator"), params={"node": name, "kind": "node.token"}
    )
    return [(each["became"], each["reason"]) for each in reversed(answer.json()["items"])]


async def test_every_replica_offers_the_same_token_until_it_was_shown(replicas: tuple[RunningApi, RunningApi]) -> None:
    one, two = replicas
    node = await joined(one, "shown")
    first = node.token
    assert await offered_by(one, node) is None
    detail = await rotate(one, "shown", reason="a copy of the disk was lost")
    assert detail["token"]["generation"] == 0
    assert detail["token"]["next_offered_at"] is not None
    offered = await offered_by(one, node)
    assert offered is not None
    assert offered != first

    async def the_other_offers() -> bool:
        return await offered_by(two, node) == offered

    await until(the_other_offers, within_seconds=2)
    await rotate(one, "shown")  # once more: the same
    assert await offered_by(one, node) == offered
    assert await status_of(two, node, first) == 200  # whatever was offered: nothing was shown yet
    assert await status_of(two, node, offered) == 200

    async def the_first_is_out() -> bool:
        return [await status_of(each, node, first) for each in replicas] == [401, 401]

    await until(the_first_is_out, within_seconds=2)
    assert [await status_of(each, node, offered) for each in replicas] == [200, 200]
    token = (await one.node("shown"))["token"]
    assert token["generation"] == 1
    assert token["next_offered_at"] is None
    node.token = offered
    assert await offered_by(one, node) is None
    assert await events_of(one, "shown") == [("wanted", "asked"), ("replaced", "")]
    audit = await one.client.get(
        "/api/v1/fleet/audit", headers=one.bearer("operator"), params={"action": "node.rotate_token", "limit": "1"}
    )
    (entry,) = audit.json()["items"]
    assert (entry["object"], entry["before"], entry["after"]) == (
        "shown",
        {"generation": 0},
        {"generation": 1, "reason": "a copy of the disk was lost"},
    )
    assert first not in audit.text
    assert offered not in audit.text


async def test_the_next_token_works_for_every_call_of_an_agent(replicas: tuple[RunningApi, RunningApi]) -> None:
    one, _ = replicas
    node = await joined(one, "calls")
    await rotate(one, "calls")
    offered = await offered_by(one, node)
    headers = {"authorization": f"Bearer {offered}"}
    usage = await one.client.post("/api/v1/agents/usage", headers=headers, json={"allocations": []})
    assert usage.status_code == 200, usage.text
    assert await status_of(one, node, node.token) == 200  # only a heartbeat ends the one before
    leave = await one.client.post("/api/v1/agents/leave", headers=headers, json={"boot_id": node.boot_id, "sequence": 99})
    assert leave.status_code == 204


async def test_a_lost_join_that_is_asked_again_takes_the_offer_back(replicas: tuple[RunningApi, RunningApi]) -> None:
    """Else the token of before could come to power after the new one was handed out."""
    one, _ = replicas
    node = SimulatedNode(one, "again", REGION)
    body = {"join_token": await one.join_token(REGION), "join_nonce": "nonce-nonce", "name": "again"}
    first = (await one.client.post("/api/v1/agents/join", json=body)).json()
    node.node_id, node.token = first["node_id"], first["node_token"]
    await rotate(one, "again")
    offered = await offered_by(one, node)
    second = (await one.client.post("/api/v1/agents/join", json=body)).json()
    assert second["node_id"] == first["node_id"]
    assert offered is not None
    assert [await status_of(one, node, each) for each in (first["node_token"], offered, second["node_token"])] == [401, 401, 200]


async def test_nobody_may_rotate_what_is_not_there(replicas: tuple[RunningApi, RunningApi]) -> None:
    one, _ = replicas
    missing = await one.client.post(f"{OPERATE}/nobody/token/rotate", headers=one.bearer("operator"))
    assert missing.status_code == 404
    await joined(one, "picky")
    for body in ({"reason": "x" * 201}, {"reason": "a\u0000b"}, {"emergency": True}):
        answer = await one.client.post(f"{OPERATE}/picky/token/rotate", headers=one.bearer("operator"), json=body)
        assert answer.status_code == 422, answer.text
    assert (await one.node("picky"))["token"]["next_offered_at"] is None


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Agent:
    """The agent's own link and badge, without the rest of it."""

    def __init__(self, node: SimulatedNode, links: list[Link], folder: Path) -> None:
        self.node, self.links, self.folder = node, links, folder
        self.clock = Clock()
        who = Identity(node_id=node.node_id, token=Redacted(node.token), region=REGION, realm="turnfleet")
        identity.save(folder, who)
        self.shown: set[str] = {node.token}
        self.badge = self._badge()

    def _badge(self) -> Badge:
        who = identity.load(self.folder)
        assert who is not None
        return Badge(who, state_dir=self.folder, disk=DISK, clock=self.clock)

    def restart(self) -> None:
        """As after a power cut: what is on disk is all there is."""
        self.badge = self._badge()

    def _build(self) -> Heartbeat:
        self.clock.now += AGAIN_SECONDS / 4
        return msgspec.convert(self.node.heartbeat(), Heartbeat)

    async def beat(self, dice: random.Random, *, lost: bool = False) -> Outcome[HeartbeatReply]:
        """As the loop does it; `lost`: the answer does not arrive."""
        outcome = await dice.choice(self.links).heartbeat(self.badge.token, self._build)
        self.shown.add(self.badge.token.reveal())
        if lost:
            return outcome
        if isinstance(outcome, Refused):
            self.badge.refused()
        elif isinstance(outcome, Answered):
            await self.badge.offered(None if outcome.reply.node_token is None else Redacted(outcome.reply.node_token))
        return outcome


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_losses_and_restarts_leaves_a_token_that_works(
    replicas: tuple[RunningApi, RunningApi], folder: Path, seed: int
) -> None:
    dice = random.Random(seed)
    name = f"unlucky-{seed}"
    node = await joined(replicas[0], name)
    links = [Link(origins=(each.url,), ca_file=None) for each in replicas]
    agent = Agent(node, links, folder)
    locked_out = 0
    try:
        for _ in range(60):
            match dice.choice(("beat", "beat", "lost", "restart", "rotate", "full disk")):
                case "beat":
                    # At most one refusal: then the other token works.
                    first = await agent.beat(dice)
                    if not isinstance(first, Answered) and not isinstance(await agent.beat(dice), Answered):
                        locked_out += 1
                case "lost":
                    await agent.beat(dice, lost=True)
                case "restart":
                    agent.restart()
                case "rotate":
                    await rotate(dice.choice(replicas), name)
                case "full disk":
                    # The write fails as on a full disk: where the folder would be there is a file.
                    agent.badge._state_dir = folder / "node.json"
                    await agent.beat(dice)
                    agent.badge._state_dir = folder
        assert locked_out == 0

        async def settled() -> bool:
            await agent.beat(dice)
            return (await replicas[0].node(name))["token"]["next_offered_at"] is None

        await until(settled)
        assert (await replicas[0].node(name))["token"]["generation"] >= 3
        working = {token for token in agent.shown if await status_of(replicas[0], node, token) == 200}
        assert working == {agent.badge.token.reveal()}
    finally:
        for link in links:
            await link.close()


async def test_a_control_plane_that_is_killed_in_between_offers_the_same(replicas: tuple[RunningApi, RunningApi]) -> None:
    one, two = replicas
    node = await joined(one, "killed")
    await rotate(one, "killed")
    offered = await offered_by(one, node)
    assert offered is not None
    await two.kill()
    await two.start()
    assert await offered_by(two, node) == offered
    assert await status_of(two, node, offered) == 200

    async def the_first_is_out() -> bool:
        return await status_of(two, node, node.token) == 401

    await until(the_first_is_out, within_seconds=2)


class World:
    """The flow's own parts on a database, as a process has them."""

    def __init__(self, database_url: str) -> None:
        self.tokens = NodeTokens(MasterKeys(Redacted(MASTER_KEY)))
        self.database = PatientDatabase(database_url, connections=2)
        self.directory = Directory(self.database, self.database, fleet_changed=lambda: None, successors=self.tokens.successors)


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str) -> AsyncIterator[World]:
    made = World(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO regions VALUES ('eu', 'eu', 'City', 'DE', 50, 8)")
    for number in range(7):
        await connection.execute(
            "INSERT INTO nodes (id, name, region, token_sha256, token_at) "
            "VALUES (gen_random_uuid(), $1, 'eu', $2, now() - $3::interval)",
            f"eu-{number}",
            bytes([number]) * 32,
            timedelta(days=10 * number),
        )
    await connection.close()
    await made.directory.refresh()
    yield made
    await made.database.close()


def wanted(world: World) -> list[str]:
    return sorted(node.name for node in world.directory.nodes.values() if node.token_wanted_at is not None)


async def test_tokens_that_are_too_old_are_replaced_the_oldest_first_and_a_few_at_a_time(world: World) -> None:
    await TokenAger(world.database, world.directory, every=timedelta(days=5), epoch=0).advance()
    assert wanted(world) == [f"eu-{number}" for number in (2, 3, 4, 5, 6)]
    await TokenAger(world.database, world.directory, every=timedelta(days=5), epoch=0).advance()
    assert wanted(world) == [f"eu-{number}" for number in range(1, 7)]


async def test_no_age_no_offer_and_no_word_of_a_leader_that_was_followed(world: World) -> None:
    await TokenAger(world.database, world.directory, every=None, epoch=0).advance()
    await TokenAger(world.database, world.directory, every=timedelta(days=5), epoch=-1).advance()
    assert wanted(world) == []


async def test_while_the_database_is_away_both_tokens_work(world: World) -> None:
    await TokenAger(world.database, world.directory, every=timedelta(days=60), epoch=0).advance()
    (node,) = (each for each in world.directory.nodes.values() if each.token_wanted_at is not None)
    (successor,) = world.tokens.successors(node)
    assert successor is not None
    away = Database("postgresql://nobody@127.0.0.1:1/nothing", acquire_seconds=0.2)
    await confirm_token(away, world.directory, node, shown=successor)
    assert await world.directory.node_by_token(successor) is node
    assert await world.directory.node_by_token(node.token_sha256) is node
    await confirm_token(world.database, world.directory, node, shown=successor)
    assert await world.directory.refresh()
    after = await world.directory.node_by_token(successor)
    assert after is not None
    assert (after.token_generation, after.token_wanted_at, after.token_sha256) == (1, None, successor)
    assert await world.directory.node_by_token(node.token_sha256) is None
    await away.close()


def test_tokens_of_nodes_and_generations_have_nothing_in_common(world: World) -> None:
    node = next(iter(world.directory.nodes.values()))
    asked = list(world.directory.nodes.values())[:3]
    made = {world.tokens.offered(_offering(each, generation), shown=each.token_sha256) for each in asked for generation in range(3)}
    assert len(made) == 9
    other_key = NodeTokens(MasterKeys(Redacted("A" * 44)))
    assert other_key.offered(_offering(node, 0), shown=node.token_sha256) not in made


def _offering(node: Node, generation: int) -> Node:
    return replace(node, token_generation=generation, token_wanted_at=node.token_at)
