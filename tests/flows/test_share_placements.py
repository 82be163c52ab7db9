"""Two replicas that tell each other what they placed, on a real Redis that goes and comes back."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import Weight
from controlplane.fleet.view import FleetView
from controlplane.flows import share_placements
from controlplane.flows.share_placements import PlacementSharer
from controlplane.redis_store.keys import PLACEMENTS
from controlplane.redis_store.placements import PlacementStream
from deploy.local.redis_server import private_redis
from tests.builders import make_node, make_record, make_region

NODE = make_node("node-1")


class Replica:
    def __init__(self, url: str, *, replicas: int = 2) -> None:
        self.view = FleetView(policy=Policy())
        self.view.set_directory([make_region()], [NODE])
        self.now = time.monotonic()
        self.view.put_record("node-1", make_record(), received=self.now)
        self.stream = PlacementStream.connect(url)
        self.sharer = PlacementSharer(self.stream, self.view, lambda: replicas)

    def place(self, credentials: int) -> None:
        for _ in range(credentials):
            self.view.place("node-1", Weight(bits_per_second=8_771_695.62, allocations=1.0))

    @property
    def per_cent(self) -> float:
        """A credential is one per cent of the node."""
        return round(self.view.state(NODE, now=self.now).utilisation * 100, 3)


async def test_what_one_placed_the_other_knows_after_the_next_exchange(redis_url: str) -> None:
    one, other = Replica(redis_url), Replica(redis_url)
    one.place(7)
    other.place(2)
    assert (one.per_cent, other.per_cent) == (7.0, 2.0)
    await one.sharer.exchange()
    await other.sharer.exchange()
    await one.sharer.exchange()
    assert (one.per_cent, other.per_cent) == (9.0, 9.0)
    await one.sharer.exchange()
    await other.sharer.exchange()
    assert (one.per_cent, other.per_cent) == (9.0, 9.0)
    for each in (one, other):
        await each.sharer.close()


async def test_a_batch_whose_answer_was_lost_counts_once(redis_url: str) -> None:
    one, other = Replica(redis_url), Replica(redis_url)
    one.place(3)
    await one.sharer.exchange()
    async with Redis.from_url(redis_url) as client:
        ((_, fields),) = cast("list[tuple[bytes, dict[Any, Any]]]", await client.xrange(PLACEMENTS))
        await client.xadd(PLACEMENTS, fields)  # as it is when it is sent again
    await other.sharer.exchange()
    assert other.per_cent == 3.0
    for each in (one, other):
        await each.sharer.close()


async def test_alone_it_stands_for_all_and_makes_good_what_it_could_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_placements, "_ALONE_AFTER_SECONDS", 0.0)
    async with private_redis() as redis:
        one, other = Replica(redis.url, replicas=4), Replica(redis.url, replicas=4)
        one.place(1)
        await one.sharer.exchange()
        await other.sharer.exchange()
        await redis.kill()
        one.place(2)
        await one.sharer.exchange()
        assert [one.sharer.alone] == [True]
        assert one.per_cent == 1 + 4 * 2
        one.place(3)
        await one.sharer.exchange()
        assert one.per_cent == 1 + 4 * 5
        await redis.start()
        for _ in range(2):  # the first finds its connection broken
            await one.sharer.exchange()
            await other.sharer.exchange()
        await other.sharer.exchange()
        assert not one.sharer.alone
        assert (one.per_cent, other.per_cent) == (6.0, 6.0)
        for each in (one, other):
            await each.sharer.close()
