"""The one reader of events and its streams, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from controlplane.background import background
from controlplane.flows.follow_events import EventFilter, EventFollower, EventStream, StreamsExhaustedError
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.event_log import LoggedEvent
from tests.databases import PatientDatabase
from tests.event_log import connected, write

EVERYTHING = EventFilter()


def frame(event: LoggedEvent) -> bytes:
    return b"%d " % event.id


@asynccontextmanager
async def following(url: str, **changes: Any) -> AsyncIterator[EventFollower]:
    database = PatientDatabase(url)
    follower = EventFollower(database, frame, **changes)
    async with background([follower.run()]):
        yield follower
    await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Any]:
    async with connected(database_url) as connection:
        yield connection


async def ids(stream: EventStream, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += [int(each) for each in (await stream.take(10)).split()]
    return found


async def test_an_id_that_was_taken_first_and_committed_last_is_not_lost(database_url: str, database: Any) -> None:
    """Without an order among writers, whoever has read the second event would never ask for the first."""
    async with following(database_url) as follower, connected(database_url) as slow:
        stream = await follower.open(EVERYTHING, after_id=None)
        transaction = slow.transaction()
        await transaction.start()
        early = await write(slow)
        late = asyncio.create_task(write(database))
        assert await stream.take(1.0) == b""
        await transaction.commit()
        assert await ids(stream, 2) == [*early, *await late]
        assert early < await late


async def test_one_that_has_to_catch_up_and_one_that_has_not(database_url: str, database: Any) -> None:
    before = await write(database, 700)
    async with following(database_url) as follower:
        now = await follower.open(EVERYTHING, after_id=None)
        behind = await follower.open(EVERYTHING, after_id=before[9])
        assert await ids(behind, 690) == before[10:]
        assert await now.take(0) == b""
        after = await write(database, 3)
        assert await ids(now, 3) == await ids(behind, 3) == after


async def test_a_stream_ends_when_its_life_is_over_and_frees_its_place(database_url: str, database: Any) -> None:
    async with following(database_url, max_streams=1, life_seconds=2.0) as follower:
        stream = await follower.open(EVERYTHING, after_id=None)
        with pytest.raises(StreamsExhaustedError):
            await follower.open(EVERYTHING, after_id=None)
        async with asyncio.timeout(5):
            while not stream.ended:
                await stream.take(5)
        assert stream.missed is None
        follower.close(stream)
        again = await follower.open(EVERYTHING, after_id=stream.position)
        written = await write(database)
        assert await ids(again, 1) == written


async def test_many_at_once_get_no_more_places_than_there_are(database_url: str) -> None:
    async with following(database_url, max_streams=3) as follower:
        opened = await asyncio.gather(*(follower.open(EVERYTHING, after_id=None) for _ in range(20)), return_exceptions=True)
        assert sum(isinstance(each, EventStream) for each in opened) == 3
        assert sum(isinstance(each, StreamsExhaustedError) for each in opened) == 17


async def test_who_takes_nothing_is_given_up_at_its_bound(database_url: str, database: Any) -> None:
    async with following(database_url) as follower:
        idle, busy = [await follower.open(EVERYTHING, after_id=None) for _ in range(2)]
        cut = asyncio.Event()
        idle.abort = cut.set
        for _ in range(5):
            written = await write(database, 500)
            assert await ids(busy, 500) == written
        assert (idle.ended, idle.missed, idle.rest()) == (True, "too_slow", b"")
        assert not busy.ended
        idle.end(0.05)
        async with asyncio.timeout(5):
            await cut.wait()


async def test_after_a_stop_nothing_begins(database_url: str) -> None:
    async with following(database_url) as follower:
        stream = await follower.open(EVERYTHING, after_id=None)
        follower.stop()
        late = await follower.open(EVERYTHING, after_id=None)
        assert stream.ended
        assert late.ended
        assert late.missed is None


async def test_a_database_that_is_away_delays_and_loses_nothing(database_url: str, database: Any) -> None:
    async with following(database_url) as follower:
        stream = await follower.open(EVERYTHING, after_id=None)
        written = await write(database)
        assert await ids(stream, 1) == written
        await database.execute("ALTER TABLE fleet_events RENAME TO fleet_events_away")
        with pytest.raises(DatabaseUnavailableError):
            await follower.open(EVERYTHING, after_id=None)
        assert await stream.take(1.0) == b""
        await database.execute("ALTER TABLE fleet_events_away RENAME TO fleet_events")
        written = await write(database, 2)
        assert await ids(stream, 2) == written
