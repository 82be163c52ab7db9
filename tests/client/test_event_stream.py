"""A stream of events that breaks, ends, is refused or has gaps: what the clients make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from controlplane.client import (
    AnswerUnreadableError,
    AsyncClient,
    AuthenticationError,
    Client,
    ConnectionFailedError,
    EventsMissedError,
    InvalidError,
    Retries,
    TurnfleetError,
    UnavailableError,
)
from controlplane.client.call import Answer, Stream
from controlplane.client.event_stream import Following
from controlplane.client.fleet import Fleet
from tests.client.scripted_server import BREAK, answer, scripted

QUICK = Retries(attempts=2, total_seconds=5)
_EVENT = (
    '{"id":%d,"happened_at":"2026-11-22T12:00:00Z","kind":"node.health","region":"a","node_id":null,"node":null,"was":null,'
    '"became":"up","reason":"r","detail":"d","actor":"system","comes_later":1}'
)


def event(number: int) -> str:
    return f"id: {number}\ndata: {_EVENT % number}\n\n"


def stream(*blocks: str, broken: bool = False, kind: str = "text/event-stream") -> bytes:
    """An answer that ends cleanly after these blocks, or breaks."""
    body = "".join(blocks).encode()
    head = f"HTTP/1.1 200 X\r\ncontent-type: {kind}; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
    return head + body + (b"\r\nbroken\r\n" if broken else b"\r\n0\r\n\r\n")


async def _blocking(url: str, count: int, told: Callable[[TurnfleetError], None], **wanted: Any) -> list[int]:
    def run() -> list[int]:
        with Client(url, "a-token", retries=QUICK) as client:
            raw = client.driver.follow_raw(Fleet.stream_events(**wanted), interrupted=told)
            found = [Fleet.stream_events().decode(each).id for each in islice(raw, count)]
            raw.close()  # type: ignore[attr-defined] # it is a generator
            return found

    return await asyncio.to_thread(run)


async def _awaiting(url: str, count: int, told: Callable[[TurnfleetError], None], **wanted: Any) -> list[int]:
    found: list[int] = []
    async with AsyncClient(url, "a-token", retries=QUICK) as client:
        async for each in client.driver.follow_raw(Fleet.stream_events(**wanted), interrupted=told):
            found.append(Fleet.stream_events().decode(each).id)
            if len(found) == count:
                break
    return found


@pytest.fixture(params=[_blocking, _awaiting], ids=["Client", "AsyncClient"])
def follow(request: pytest.FixtureRequest) -> Any:
    return request.param


def ignore(error: TurnfleetError) -> None:
    """For tests in which nothing is told."""


def asked_after(request: str) -> str | None:
    return next((line.partition(": ")[2] for line in request.lower().splitlines() if line.startswith("last-event-id")), None)


async def test_it_goes_on_after_the_last_id_of_whatever_block(follow: Any) -> None:
    replies = [
        stream("retry: 10\nid: 4\n\n", event(5), event(6), ": still here\nid: 9\n\n"),
        stream("retry: 10\nid: 9\n\n", event(10), event(11)[:-1]),
        stream(event(11), broken=True),
        stream(event(12)),
    ]
    told: list[TurnfleetError] = []
    async with scripted(*replies) as server:
        assert await follow(server.url, 5, told.append, node="n 1", kind=None) == [5, 6, 10, 11, 12]
    assert [asked_after(request) for request in server.requests] == [None, "9", "10", "11"]
    assert server.requests[0].startswith("GET /api/v1/fleet/events/stream?node=n+1 HTTP/1.1")
    assert "\r\naccept: text/event-stream\r\n" in server.requests[0].lower()
    assert [type(each) for each in told] == [ConnectionFailedError]


async def test_it_begins_after_the_event_that_is_named(follow: Any) -> None:
    async with scripted(stream(event(8))) as server:
        assert await follow(server.url, 1, ignore, after=7) == [8]
    assert asked_after(server.requests[0]) == "7"


async def test_an_api_that_was_there_is_waited_for_however_long_it_takes(follow: Any) -> None:
    away = answer(status=503, retry_after="0")
    told: list[TurnfleetError] = []
    async with scripted(stream("retry: 1\n\n", event(1)), *[away] * 6, BREAK, stream(event(2))) as server:
        assert await follow(server.url, 2, told.append) == [1, 2]
    assert [type(each) for each in told] == [UnavailableError]
    assert len(server.requests) == 9


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(status=503, retry_after="0"), UnavailableError),
        (answer(status=401), AuthenticationError),
        (answer(status=422), InvalidError),
        (BREAK, ConnectionFailedError),
        (stream(event(1), kind="text/html"), AnswerUnreadableError),
        (answer("[]"), AnswerUnreadableError),
    ],
)
async def test_what_cannot_begin_is_raised(follow: Any, reply: bytes, kind: type[TurnfleetError]) -> None:
    async with scripted(*[reply] * 2) as server:
        with pytest.raises(kind):
            await follow(server.url, 1, ignore)


async def test_a_token_that_was_deleted_ends_it(follow: Any) -> None:
    async with scripted(stream("retry: 1\n\n", event(1)), answer(status=401)) as server:
        with pytest.raises(AuthenticationError):
            await follow(server.url, 2, ignore)


async def test_a_gap_is_raised_with_the_place_to_go_on_from(follow: Any) -> None:
    reload = 'retry: 1\nevent: reload\nid: 90\ndata: {"reason":"too_slow","detail":"Too slow."}\n\n'
    async with scripted(stream(event(1), reload)) as server:
        with pytest.raises(EventsMissedError, match="Too slow") as missed:
            await follow(server.url, 2, ignore)
    assert missed.value.last_event_id == 90


async def test_an_item_of_another_shape_is_a_sentence(follow: Any) -> None:
    async with scripted(stream("id: 1\ndata: {}\n\n")) as server:
        with pytest.raises(AnswerUnreadableError, match="not what this version"):
            await follow(server.url, 1, ignore)


async def test_both_clients_give_decoded_events() -> None:
    async with scripted(stream(event(1)), stream(event(2))) as server:

        def first() -> str | None:
            with Client(server.url, "a-token") as client:
                return next(client.fleet.stream_events()).became

        assert await asyncio.to_thread(first) == "up"
        async with AsyncClient(server.url, "a-token") as client:
            assert (await anext(client.fleet.stream_events())).id == 2


def following() -> Following:
    made = Following(Stream(path="/a", item=dict), dice=lambda: 0.0)
    made.begin(Answer(status=200, headers={"content-type": "text/event-stream"}, body=b""))
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_are_read_however_they_are_cut(size: int) -> None:
    text = b'retry: 250\nid: 1\n\n: c\n\nid:2\ndata:{"a":\ndata: 1}\n\nevent: later\ndata: {}\n\n'
    text += b'id: x\nid\ndata: {"b":"\xe2\x82\xac"}\n\nda'
    made = following()
    found = [bytes(raw) for begin in range(0, len(text), size) for raw in made.feed(text[begin : begin + size])]
    assert found == [b'{"a":\n1}', b'{"b":"\xe2\x82\xac"}']
    assert made.call().headers["last-event-id"] == "2"
    assert made.wait_seconds() == 0.25


def test_waits_grow_up_to_a_bound_and_shrink_again() -> None:
    made = following()
    waits = []
    for _ in range(6):
        made.lost(ConnectionFailedError("away"))
        waits.append(made.wait_seconds())
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    made.begin(Answer(status=200, headers={"content-type": "text/event-stream"}, body=b""))
    assert made.wait_seconds() == 1.0


def test_an_event_without_an_end_is_given_up() -> None:
    made = following()
    assert list(made.feed(b"x" * 1_000_000)) == []
    with pytest.raises(AnswerUnreadableError, match="no end"):
        list(made.feed(b"x" * 100_000))
