"""A region of simulated nodes before a real relay, and a leader that takes one pass over drains and rolls when it is told to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from controlplane.fleet.intent import Change
from controlplane.fleet.model import CoturnState, Listener, Transport
from controlplane.fleet.policy import Policy
from controlplane.fleet.roll import Move, Roll, next_moves
from controlplane.flows.directory import Directory
from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.probe_node import NodeProber
from controlplane.flows.roll_region import RollKeeper
from controlplane.postgres_store.directory import put_region
from controlplane.postgres_store.intents import change_intent
from controlplane.postgres_store.rolls import roll_by_id, start_roll
from controlplane.redis_store.live_state import LiveState
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, make_settings, open_folder
from tests.agents.relay import relay
from tests.builders import ACTOR, make_node, make_record, make_region, make_report
from tests.databases import PatientDatabase
from tests.running_api import MASTER_KEY

REGION = "eu-central"
NAMES = ("a", "b")


@dataclass
class Simulated:
    """What the node's agent would do with what is wanted of it."""

    generation: int = 0
    failure: str = ""
    obeys: bool = True
    dead: bool = False
    port: int = 0
    silent: bool = False
    sequence: int = 0


@dataclass(kw_only=True)
class World:
    url: str
    database: PatientDatabase
    keeper: FleetKeeper
    directory: Directory
    prober: NodeProber | None
    ids: dict[str, str]
    agents: dict[str, Simulated]
    epoch: int = 0
    asked: list[str] = field(default_factory=list)
    least_in_service: int = 9
    from_outside: bool = True

    async def sql(self, text: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(text, *values))
        finally:
            await connection.close()

    def beat(self) -> None:
        """Every node reports once."""
        for name, agent in self.agents.items():
            node = self.directory.nodes.get(self.ids[name])
            if node is None or agent.silent:
                continue
            if node.wanted_generation > agent.generation and agent.obeys:
                agent.generation = node.wanted_generation
                self.asked.append(name)
            agent.sequence += 1
            report = make_report(
                sequence=agent.sequence,
                coturn_state=CoturnState.DEAD if agent.dead else CoturnState.RUNNING,
                secret_versions=node.wanted_versions,
                coturn_generation=agent.generation,
                coturn_failure=agent.failure,
                listeners=(Listener(transport=Transport.UDP, host=LOOPBACK, port=agent.port),),
            )
            streak = 0 if agent.dead or not node.wanted_versions else 9
            record = make_record(report=report, good_streak=streak, received_at=datetime.now(UTC))
            self.keeper.view.put_record(node.node_id, record, received=time.monotonic())
        served = [
            state for state in self.keeper.view.states(now=time.monotonic()) if state.eligible and state.verdict.health == "up"
        ]
        self.least_in_service = min(self.least_in_service, len(served))

    async def new_leader(self) -> None:
        ((self.epoch,),) = await self.sql("UPDATE leader SET epoch = epoch + 1 RETURNING epoch")

    async def tick(self, *, epoch: int | None = None) -> None:
        """As it happens within a second or two; whoever leads has only just begun to."""
        term = self.epoch if epoch is None else epoch
        await self.directory.refresh()
        self.beat()
        await DrainKeeper(self.database, self.keeper, self.directory, epoch=term).advance()
        self.beat()
        await RollKeeper(
            self.database, self.keeper, self.directory, self.prober, from_outside=self.from_outside, epoch=term
        ).advance()

    async def later(self, seconds: float = 5.0) -> None:
        """As if that much time had passed."""
        await self.sql("UPDATE roll_nodes SET since_at = since_at - make_interval(secs => $1)", seconds)

    async def start(self, **changes: Any) -> Roll:
        options = {"reason": "", "max_unavailable": 1, "deadline_seconds": 0, "force": True, **changes}
        return await start_roll(self.database, region=REGION, actor=ACTOR, **options)

    async def now(self, roll: Roll) -> Roll:
        found = await roll_by_id(self.database, UUID(roll.roll_id))
        assert found is not None
        return found

    async def steps(self, roll: Roll) -> str:
        return " ".join(f"{each.name}:{each.step}" for each in (await self.now(roll)).nodes)

    async def until(self, roll: Roll, text: str, *, ticks: int = 30) -> Roll:
        """Until the roll is in that state, or a node in that step."""
        for _ in range(ticks):
            if text in f"{(await self.now(roll)).state} {await self.steps(roll)}":
                return await self.now(roll)
            await self.tick()
            if ":returning" in await self.steps(roll):
                await self.later()
        raise AssertionError(f"It is not {text}: {await self.now(roll)}")

    async def decided(self, roll: Roll) -> list[Move]:
        """What a leader would do now."""
        await self.directory.refresh()
        self.beat()
        seen = {state.node.node_id: state for state in self.keeper.view.states(now=time.monotonic())}
        found = next_moves(await self.now(roll), seen, now=self.directory.database_now())
        return [each for each in found if isinstance(each, Move)]

    async def intents(self) -> dict[str, str]:
        await self.directory.refresh()
        return {node.name: node.intent.value for node in self.directory.nodes.values()}

    async def change(self, name: str, change: Change, reason: str = "") -> None:
        await change_intent(self.database, self.ids[name], change, reason=reason, deadline_seconds=600, force=True, actor=ACTOR)


@asynccontextmanager
async def world_of(url: str, redis_url: str) -> AsyncIterator[World]:
    secrets = NodeSecrets(MasterKeys(Redacted(MASTER_KEY)))
    async with AsyncExitStack() as stack:
        database = PatientDatabase(url, connections=4)
        stack.push_async_callback(database.close)
        live = LiveState.connect(redis_url)
        stack.push_async_callback(live.close)
        await put_region(database, make_region(REGION), ACTOR)
        ids = {name: str(uuid7()) for name in NAMES}
        settings = make_settings(stack.enter_context(open_folder()))
        # To coturn they are versions of one node.
        held = {number: secrets.secret(make_node(node_id), 1) for number, node_id in enumerate(ids.values(), start=1)}
        running = await stack.enter_async_context(relay(settings, secrets=held))
        keeper = FleetKeeper(live, Policy())

        def changed() -> None:
            keeper.view.set_directory(directory.regions, directory.nodes.values())

        directory = Directory(database, database, fleet_changed=changed)
        world = World(
            url=url,
            database=database,
            keeper=keeper,
            directory=directory,
            prober=NodeProber(secrets, ca_file=None),
            ids=ids,
            agents={name: Simulated(port=running.port) for name in NAMES},
        )
        for name, node_id in ids.items():
            await world.sql(
                "INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, $2, $3, $4)", node_id, name, REGION, name.encode()
            )
        await world.new_leader()
        await keeper.read_once()
        await directory.refresh()
        world.beat()
        yield world
