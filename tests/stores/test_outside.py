"""What was seen from outside, in a real Redis."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from controlplane.fleet.model import Transport
from controlplane.fleet.outside import ListenerSeen, Outside, PeersSeen, ProberPlace, Sight, Standing
from controlplane.redis_store.keys import OUTSIDE, OUTSIDE_AT, OUTSIDE_TERM
from controlplane.redis_store.outside import (
    EXPIRE_SECONDS,
    TERM_SECONDS,
    OutsideStore,
    OutsideUnavailableError,
    decode_outside,
    encode_outside,
)
from tests.builders import AT
from tests.running_api import until

PLAIN = Outside(probed_at=AT, sight=Sight.RELAYS)
FULL = Outside(
    probed_at=AT,
    sight=Sight.FAILS,
    listeners=(
        ListenerSeen(url="turn:a", transport=Transport.UDP, sight=Sight.FAILS, failure="refused", words="refused: …", failures=7),
        ListenerSeen(url="turns:a", transport=Transport.TLS, sight=Sight.RELAYS, milliseconds=1.5, certificate_expires_at=AT),
    ),
    failures=7,
    successes=1,
    failing_since=AT - timedelta(minutes=1),
    standing=Standing.QUARANTINED,
    since=AT,
    downs=(AT - timedelta(minutes=3), AT),
    quarantines=2,
    held_until=AT + timedelta(minutes=2),
    peers=PeersSeen(tried_at=AT, coturn_boot_id=None, permitted=("::1",)),
)
PLACE = ProberPlace(ours=True, since=AT, failing=5, tried=6)


@pytest.mark.parametrize("outside", [PLAIN, FULL])
def test_what_was_seen_survives_storage(outside: Outside) -> None:
    assert decode_outside(encode_outside(outside)) == outside


@given(st.binary(max_size=200))
def test_any_bytes_are_something_seen_or_unreadable(data: bytes) -> None:
    with contextlib.suppress(msgspec.MsgspecError, ValueError, OverflowError, OSError):
        decode_outside(data)


async def is_later(redis_url: str, milliseconds: int) -> bool:
    """By Redis' own clock."""
    async with Redis.from_url(redis_url) as client:
        seconds, microseconds = await client.time()
    return seconds * 1000 + microseconds // 1000 > milliseconds


async def test_what_the_leader_saw_is_read_once_by_everybody(redis_url: str) -> None:
    leader, replica = OutsideStore.connect(redis_url), OutsideStore.connect(redis_url)
    assert (await replica.changed_since(0)).nodes == []
    assert await leader.put({"a": PLAIN, "b": FULL}, place=PLACE, epoch=3)
    first = await replica.changed_since(0)
    assert {node_id: outside for node_id, outside, _ in first.nodes} == {"a": PLAIN, "b": FULL}
    assert all(age < 1 for _, _, age in first.nodes)
    assert first.place is not None
    assert first.place[0] == PLACE
    await until(lambda: is_later(redis_url, first.cursor), what="another millisecond: what is of the same one is read again")
    assert await leader.put({"a": FULL}, place=None, epoch=3)
    second = await replica.changed_since(first.cursor + 1)
    assert [node_id for node_id, _, _ in second.nodes] == ["a"]
    assert second.place is None
    await leader.forget(["a", "nobody"])
    assert [node_id for node_id, _, _ in (await replica.changed_since(0)).nodes] == ["b"]
    await leader.close()
    await replica.close()


async def test_an_earlier_leader_says_nothing_more(redis_url: str) -> None:
    store = OutsideStore.connect(redis_url)
    assert await store.put({"a": PLAIN}, place=None, epoch=4)
    assert not await store.put({"a": FULL}, place=PLACE, epoch=3)
    changes = await store.changed_since(0)
    assert ([outside for _, outside, _ in changes.nodes], changes.place) == ([PLAIN], None)
    await store.close()


async def test_a_fleet_of_ten_thousand_is_written_and_read_and_goes_by_itself(redis_url: str) -> None:
    store = OutsideStore.connect(redis_url)
    assert await store.put({f"node-{number}": FULL for number in range(10_000)}, place=PLACE, epoch=1)
    assert len((await store.changed_since(0)).nodes) == 10_000
    await store.put({}, place=PLACE, epoch=1)
    async with Redis.from_url(redis_url) as client:
        for key, seconds in ((OUTSIDE, EXPIRE_SECONDS), (OUTSIDE_AT, EXPIRE_SECONDS), (OUTSIDE_TERM, TERM_SECONDS)):
            assert 0 < await client.ttl(key) <= seconds
    await store.close()


async def test_what_is_damaged_or_of_another_release_is_left_out(redis_url: str) -> None:
    store = OutsideStore.connect(redis_url)
    await store.put({"a": PLAIN, "b": PLAIN, "c": PLAIN}, place=PLACE, epoch=1)
    async with Redis.from_url(redis_url) as client:
        await client.hset(OUTSIDE, mapping={"a": b"\xff", "b": encode_outside(PLAIN).replace(b"\x01", b"\x09", 1), "": b"x"})
    changes = await store.changed_since(0)
    assert ([node_id for node_id, _, _ in changes.nodes], changes.place) == (["c"], None)
    await store.close()


async def test_a_redis_that_is_away_is_said_so() -> None:
    store = OutsideStore.connect("redis://127.0.0.1:1/0")
    with pytest.raises(OutsideUnavailableError):
        await store.put({"a": PLAIN}, place=None, epoch=1)
    with pytest.raises(OutsideUnavailableError):
        await store.changed_since(0)
    await store.close()
