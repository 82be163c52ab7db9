"""What a forgotten node leaves in Redis, also what another replica writes of it late, goes in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest_asyncio
from redis.asyncio import Redis

from controlplane.fleet.policy import Policy
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.redis_store.keys import NODES, SEEN
from controlplane.redis_store.live_state import LiveState
from tests.builders import make_record
from tests.databases import PatientDatabase


@dataclass
class World:
    keeper: FleetKeeper
    live: LiveState
    directory: Directory
    redis: Redis
    known: str

    async def grow_old(self, *node_ids: str) -> None:
        """They were heard of a quarter of an hour ago."""
        for node_id in node_ids:
            await self.redis.zincrby(SEEN, -900_000, node_id)

    async def left(self) -> set[str]:
        nodes = {str(each) for each in await self.redis.hkeys(NODES)}
        assert nodes == {str(each) for each in await self.redis.zrange(SEEN, 0, -1)}
        return nodes


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    known = uuid4()
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO regions VALUES ('eu', 'eu', 'City', 'DE', 50, 8)")
    await connection.execute("INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, 'eu-1', 'eu', '')", known)
    await connection.close()
    database = PatientDatabase(database_url, connections=1)
    directory = Directory(database, database, fleet_changed=lambda: None)
    await directory.refresh()
    live = LiveState.connect(redis_url)
    async with Redis.from_url(redis_url, encoding_errors="replace", decode_responses=True) as client:
        yield World(FleetKeeper(live, Policy()), live, directory, client, str(known))
    await live.close()
    await database.close()


async def test_who_is_silent_and_no_node_any_more_is_removed(world: World) -> None:
    strangers = [str(UUID(int=number)) for number in range(250)]
    fresh = str(uuid4())
    await world.live.put(dict.fromkeys([*strangers, fresh, world.known], make_record()))
    await world.grow_old(*strangers, world.known)
    assert await world.keeper.tidy(world.directory) == 250
    assert await world.left() == {fresh, world.known}  # a stranger that talks may have joined a moment ago
    assert await world.keeper.tidy(world.directory) == 0


async def test_nobody_is_removed_by_what_was_known_long_ago(world: World) -> None:
    await world.live.put({"stranger": make_record()})
    await world.grow_old("stranger")
    world.directory.confirmed_at -= 60
    assert await world.keeper.tidy(world.directory) == 0
    assert await world.left() == {"stranger"}


async def test_redis_that_is_away_is_no_failure(world: World) -> None:
    nowhere = LiveState.connect("redis://127.0.0.1:1/0")
    assert await FleetKeeper(nowhere, Policy()).tidy(world.directory) == 0
    await nowhere.close()
