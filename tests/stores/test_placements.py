"""The stream of placements, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from controlplane.fleet.view import Placed
from controlplane.redis_store.keys import PLACEMENTS
from controlplane.redis_store.placements import Batch, PlacementStream, PlacementsUnavailableError, Told


def batch(replica: str, number: int, *nodes: str) -> Batch:
    placed = [Placed(node_id=node, report=2**40 + 7, bits_per_second=0.3e6, allocations=1.5, uses=0.5) for node in nodes]
    return Batch(replica=replica, number=number, placed=placed)


def numbers(told: Told) -> list[tuple[str, int]]:
    return [(each.replica, each.number) for each in told.batches]


@pytest_asyncio.fixture(loop_scope="session")
async def stream(redis_url: str) -> AsyncIterator[PlacementStream]:
    stream = PlacementStream.connect(redis_url)
    yield stream
    await stream.close()


async def test_others_are_told_once_and_oneself_never(stream: PlacementStream) -> None:
    mine = await stream.exchange(batch("a", 1, "node-1", "node-2"), cursor="")
    assert mine.batches == []
    first = await stream.exchange(batch("b", 1), cursor="")
    assert first.batches == [batch("a", 1, "node-1", "node-2")]
    assert numbers(await stream.exchange(batch("b", 2, "node-3"), cursor=first.cursor)) == []
    assert numbers(await stream.exchange(batch("a", 2), cursor=mine.cursor)) == [("b", 2)]


async def test_nothing_placed_is_nothing_told(stream: PlacementStream, redis_url: str) -> None:
    await stream.exchange(batch("a", 1), cursor="")
    async with Redis.from_url(redis_url) as client:
        assert await client.exists(PLACEMENTS) == 0


async def test_who_begins_reads_what_was_placed_lately_and_no_more(stream: PlacementStream, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        seconds, _ = await client.time()
        for age in (60, 20, 5):
            fields: dict[Any, Any] = {"replica": "a", "number": str(100 - age), "placed": b"\x90"}
            await client.xadd(PLACEMENTS, fields, id=f"{(seconds - age) * 1000}-0")
    assert numbers(await stream.exchange(batch("b", 1), cursor="")) == [("a", 95)]


async def test_a_cursor_of_the_future_begins_anew(stream: PlacementStream) -> None:
    await stream.exchange(batch("a", 1, "node-1"), cursor="")
    assert numbers(await stream.exchange(batch("b", 1), cursor="9999999999999-0")) == [("a", 1)]


async def test_what_is_damaged_holds_nothing_up(stream: PlacementStream, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        await client.xadd(PLACEMENTS, {"replica": "x", "number": "1", "placed": b"\xc1 no"})
    await stream.exchange(batch("a", 1, "node-1"), cursor="")
    assert numbers(await stream.exchange(batch("b", 1), cursor="")) == [("a", 1)]


async def test_a_redis_that_is_away_is_said() -> None:
    stream = PlacementStream.connect("redis://127.0.0.1:1")
    with pytest.raises(PlacementsUnavailableError):
        await stream.exchange(batch("a", 1), cursor="")
    await stream.close()
