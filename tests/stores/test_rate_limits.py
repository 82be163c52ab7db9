"""Shared buckets in a real Redis, and several replicas that draw on them."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from redis.asyncio import Redis

from controlplane.flows.rate_limit import RateLimiter
from controlplane.redis_store.keys import REPLICAS, rate_bucket
from controlplane.redis_store.rate_limits import ASKS_PER_CALL, Ask, RateLimits
from deploy.local.redis_server import private_redis
from tests.running_api import until

KEY = rate_bucket("project", "one")


def ask(*, owed: int = 0, want: int = 0, limit: int = 100, key: str = KEY) -> Ask:
    return Ask(key=key, limit=limit, owed=owed, want=want)


async def test_a_bucket_starts_full_and_gives_what_it_has(redis_url: str) -> None:
    store = RateLimits.connect(redis_url)
    replicas, [grant] = await store.exchange("a", [ask(want=30)])
    assert (replicas, grant.granted, grant.level) == (1, 30, 20.0)
    _, [grant] = await store.exchange("a", [ask(want=1000)])
    assert 20 <= grant.granted <= 30
    assert 0 <= grant.level < 1
    await store.close()


async def test_debts_are_taken_off_and_leases_given_back(redis_url: str) -> None:
    store = RateLimits.connect(redis_url)
    _, [grant] = await store.exchange("a", [ask(owed=150)])
    assert grant.level == -100.0
    _, [grant] = await store.exchange("a", [ask(want=10)])
    assert grant.granted == 0
    _, [grant] = await store.exchange("a", [ask(want=-1000)])
    assert grant.level == 50.0, "no more than a burst, whatever is given back"
    await store.close()


async def test_a_bucket_fills_with_time_and_is_forgotten_when_full(redis_url: str) -> None:
    store = RateLimits.connect(redis_url)
    await store.exchange("a", [ask(want=50)])
    async with Redis.from_url(redis_url) as client:
        assert 1000 < await client.pttl(KEY) <= 1500
        # Half a second ago by the clock that counts.
        await client.hincrby(KEY, "at", -400)
    _, [grant] = await store.exchange("a", [ask()])
    assert 40 <= grant.level <= 50
    await store.close()


async def test_replicas_are_counted_while_they_live(redis_url: str) -> None:
    store = RateLimits.connect(redis_url)
    assert [(await store.exchange(name, []))[0] for name in ("a", "b", "c")] == [1, 2, 3]
    await store.leave("c")
    assert (await store.exchange("a", []))[0] == 2
    async with Redis.from_url(redis_url) as client:
        await client.zincrby(REPLICAS, -6000, "b")
    assert (await store.exchange("a", []))[0] == 1
    await store.close()


async def test_a_whole_call_of_buckets(redis_url: str) -> None:
    store = RateLimits.connect(redis_url)
    keys = [rate_bucket("token", str(number)) for number in range(ASKS_PER_CALL)]
    _, grants = await store.exchange("a", [ask(key=key, want=1) for key in keys])
    assert [grant.granted for grant in grants] == [1] * ASKS_PER_CALL
    await store.close()


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_redis_that_is_away_costs_requests_nothing(how: str) -> None:
    async with private_redis() as server:
        limiter = RateLimiter(RateLimits.connect(server.url))
        await limiter.start()
        assert limiter.take("project", "one", 100)[0]
        await limiter.exchange()
        if how == "killed":
            await server.kill()
        else:
            server.pause()
        started = time.monotonic()
        await limiter.exchange()
        assert time.monotonic() - started < 1.0
        assert limiter.take("project", "one", 100)[0]
        if how == "killed":
            await server.start()
        else:
            server.resume()
        await limiter.exchange()
        other = RateLimits.connect(server.url)
        assert (await other.exchange("other", []))[0] == 2, "it counts itself again"
        await other.close()
        await limiter.close()


TOGETHER = [(1, "uneven"), (5, "one alone"), (5, "even"), (200, "uneven"), (20_000, "one alone"), (20_000, "uneven")]
LOADS = {"even": (10, 10, 10), "one alone": (10, 0, 0), "uneven": (10, 1, 1)}
"""Requests between two exchanges, per replica; times a hundredth of the limit: far more than it allows."""


async def granted(limiters: list[RateLimiter], limit: int, load: str, seconds: float) -> tuple[int, float]:
    """(requests granted from idle, seconds it really took) with more requests than the limit allows."""
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        for limiter, weight in zip(limiters, LOADS[load], strict=True):
            for _ in range(math.ceil(weight * limit / 100)):
                count += limiter.take("project", f"{load} {limit}", limit)[0]
            await limiter.exchange()
        await asyncio.sleep(0.01)
    return count, time.monotonic() - started


async def test_three_replicas_grant_the_limit_together(redis_url: str) -> None:
    async def one(limit: int, load: str) -> str | None:
        limiters = [RateLimiter(RateLimits.connect(redis_url)) for _ in range(3)]
        count, seconds = await granted(limiters, limit, load, 3.0)
        for limiter in limiters:
            await limiter.close()
        # From idle: the limit and one burst. At the borders each replica may hold or owe a token.
        expected = limit * seconds + max(1, limit / 2)
        return None if count == pytest.approx(expected, rel=0.1, abs=3) else f"{limit}/s, {load}: {count}, not {expected:.0f}"

    wrong = await asyncio.gather(*(one(limit, load) for limit, load in TOGETHER))
    assert [each for each in wrong if each] == []


async def test_idle_limits_are_no_longer_exchanged_and_leases_come_back(redis_url: str) -> None:
    limiter = RateLimiter(RateLimits.connect(redis_url))
    for _ in range(100):
        limiter.take("project", "one", 1000)
    await limiter.exchange()

    async def forgotten() -> bool:
        await limiter.exchange()
        async with Redis.from_url(redis_url) as client:
            return not await client.exists(KEY)

    await until(forgotten, what="the bucket is full again and no longer in Redis")
    assert limiter.take("project", "one", 1000)[1].remaining == 499
    await limiter.close()
