"""The fleet's live state in a real Redis."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from controlplane.redis_store.keys import NODES
from controlplane.redis_store.live_state import LiveState, LiveStateUnavailableError
from controlplane.redis_store.records import RecordUnreadableError, decode_record, encode_record
from deploy.local.redis_server import RedisServer, private_redis
from tests.builders import failed_probe, make_record, make_report
from tests.running_api import until


def test_a_record_survives_storage() -> None:
    for record in (
        make_record(),
        make_record(report=make_report(probe=failed_probe(), goodbye=True, secret_versions=(), denied_up_to=7), proved_at=None),
    ):
        assert decode_record(encode_record(record)) == record


@given(st.binary(max_size=300))
def test_any_bytes_are_a_record_or_unreadable(data: bytes) -> None:
    with contextlib.suppress(RecordUnreadableError):
        decode_record(data)


async def test_changes_are_read_once_and_by_everybody(redis_url: str) -> None:
    one, other = LiveState.connect(redis_url), LiveState.connect(redis_url)
    await one.put({"a": make_record(), "b": make_record()})
    first = await other.changed_since(0)
    assert {each.node_id for each in first.records} == {"a", "b"}
    assert all(each.age_seconds < 1 for each in first.records)
    await until(_clock_moved(other, first.cursor))
    await one.put({"a": make_record(report=make_report(sequence=8))})
    second = await other.changed_since(first.cursor + 1)
    assert [(each.node_id, each.record.report.sequence) for each in second.records] == [("a", 8)]
    await one.close()
    await other.close()


def _clock_moved(live: LiveState, cursor: int) -> Callable[[], Awaitable[bool]]:
    async def moved() -> bool:
        return (await live.changed_since(cursor + 10**12)).cursor > cursor

    return moved


async def test_a_client_does_not_read_back_what_it_put(redis_url: str) -> None:
    one, other = LiveState.connect(redis_url), LiveState.connect(redis_url)
    await one.put({"a": make_record(), "b": make_record()})
    await other.put({"b": make_record(report=make_report(sequence=8)), "c": make_record()})
    assert {each.node_id for each in (await one.changed_since(0)).records} == {"b", "c"}
    assert {each.node_id for each in (await one.changed_since(0)).records} == {"a", "b", "c"}, "who asks for everything gets it"
    await one.close()
    await other.close()


async def test_an_unreadable_record_is_left_out_and_counted(redis_url: str) -> None:
    one, other = LiveState.connect(redis_url), LiveState.connect(redis_url)
    await one.put({"a": make_record(), "b": make_record()})
    async with Redis.from_url(redis_url) as client:
        await client.hset(NODES, "a", b"from the future")
    changes = await other.changed_since(0)
    assert ([each.node_id for each in changes.records], changes.unreadable) == (["b"], 1)
    await one.close()
    await other.close()


async def test_a_cursor_of_another_redis_reads_everything(redis_url: str) -> None:
    one, other = LiveState.connect(redis_url), LiveState.connect(redis_url)
    await one.put({"a": make_record()})
    assert len((await other.changed_since(10**15)).records) == 1
    await one.close()
    await other.close()


async def test_more_nodes_than_a_lua_stack_holds(redis_url: str) -> None:
    one, other = LiveState.connect(redis_url), LiveState.connect(redis_url)
    await one.put({f"node-{n}": make_record() for n in range(2_000)})
    assert len((await other.changed_since(0)).records) == 2_000
    await one.close()
    await other.close()


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_redis_that_does_not_answer_costs_a_tenth_of_a_second(how: str) -> None:
    async with private_redis() as server:
        live = LiveState.connect(server.url)
        await live.put({"a": make_record()})
        await _take_away(server, how)
        started = time.monotonic()
        with pytest.raises(LiveStateUnavailableError):
            await live.changed_since(0)
        assert time.monotonic() - started < 1.0
        if how == "paused":
            server.resume()
        else:
            await server.start()
        await live.put({"a": make_record()})
        await live.close()


async def _take_away(server: RedisServer, how: str) -> None:
    if how == "paused":
        server.pause()
    else:
        await server.kill()
