"""What happens on the wire: repeats, timeouts, headers, pages. Both clients do the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controlplane import __version__
from controlplane.client import (
    AnswerUnreadableError,
    AsyncClient,
    Client,
    ConnectionFailedError,
    InvalidError,
    NotFoundError,
    Retries,
    UnavailableError,
)
from tests.client.scripted_server import BREAK, answer, scripted

QUICK = Retries(attempts=3, total_seconds=5)
Doing = Callable[[Any], Any]
"""Something done with a client: its result, or what is to be awaited for it."""
Doer = Callable[[str, Doing], Awaitable[Any]]


async def _blocking(url: str, doing: Doing, **options: Any) -> Any:
    def run() -> Any:
        with Client(url, "a-token", **{"retries": QUICK, **options}) as client:
            return doing(client)

    return await asyncio.to_thread(run)


async def _awaiting(url: str, doing: Doing, **options: Any) -> Any:
    async with AsyncClient(url, "a-token", **{"retries": QUICK, **options}) as client:
        return await doing(client)


@pytest.fixture(params=[_blocking, _awaiting], ids=["Client", "AsyncClient"])
def do(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_the_request_says_who_asks_in_which_project(do: Any) -> None:
    async with scripted(answer("[]")) as server:
        assert (
            await do(server.url + "/api/v1/", lambda client: client.regions.list(), project="acme/calls", user_agent="app/2") == []
        )
    head = server.requests[0].lower()
    assert head.startswith("get /api/v1/regions http/1.1")
    assert "\r\nauthorization: bearer a-token\r\n" in head
    assert "\r\nx-project: acme/calls\r\n" in head
    assert f"\r\nuser-agent: app/2 turnfleet-python/{__version__}\r\n" in head


async def test_a_read_is_repeated_after_a_broken_connection(do: Any) -> None:
    async with scripted(BREAK, answer("[]")) as server:
        assert await do(server.url, lambda client: client.regions.list()) == []
    assert len(server.requests) == 2


async def test_issuing_is_repeated_after_a_broken_connection(do: Any) -> None:
    reply = answer(
        '{"iceServers":[],"expiresAt":"2026-01-06T15:14:22.277Z"}', x_turn_selection="nearest; degraded", x_turn_node="a, b"
    )
    async with scripted(BREAK, reply) as server:
        issued = await do(server.url, lambda client: client.credentials.issue(room="r"))
    assert (issued.selection, issued.degraded, issued.node_ids) == ("nearest", True, ("a", "b"))
    assert issued.expires_at.isoformat() == "2026-01-06T15:14:22.277000+00:00"


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.tokens.create("a", ["usage:read"]),
        lambda client: client.tokens.rotate("a"),
        lambda client: client.tokens.delete("a"),
        lambda client: client.credentials.revoke_room("a"),
        lambda client: client.webhooks.test("a"),
    ],
)
async def test_a_write_is_not_repeated_after_a_broken_connection(do: Any, write: Doing) -> None:
    async with scripted(BREAK, answer()) as server:
        with pytest.raises(ConnectionFailedError, match="cannot be reached"):
            await do(server.url, write)
    assert len(server.requests) == 1


async def test_what_makes_something_new_is_not_repeated_after_503_and_a_revocation_is(do: Any) -> None:
    refused = answer(status=503, retry_after="0")
    async with scripted(refused) as server:
        with pytest.raises(UnavailableError):
            await do(server.url, lambda client: client.tokens.create("a", ["usage:read"]))
    async with scripted(refused, b"HTTP/1.1 204 X\r\n\r\n") as server:
        await do(server.url, lambda client: client.credentials.revoke_room("a"))
    assert len(server.requests) == 2


async def test_a_server_that_says_nothing_is_given_up(do: Any) -> None:
    async with scripted(None, None, None) as server:
        with pytest.raises(ConnectionFailedError, match="did not answer in time"):
            await do(server.url, lambda client: client.regions.list(), timeout_seconds=0.2)
    assert len(server.requests) == 3


async def test_nobody_there_is_a_sentence(do: Any) -> None:
    with pytest.raises(ConnectionFailedError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        await do("http://127.0.0.1:1", lambda client: client.regions.list())


async def test_a_redirection_is_not_followed_with_the_token(do: Any) -> None:
    async with scripted(answer(status=302, location="http://127.0.0.1:1/")) as server:
        with pytest.raises(InvalidError, match="not turnfleet's API"):
            await do(server.url, lambda client: client.regions.list())
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", ["<html>", "{}", '[{"slug":1}]', ""])
async def test_an_answer_of_another_shape_is_a_sentence(do: Any, body: str) -> None:
    async with scripted(answer(body)) as server:
        with pytest.raises(AnswerUnreadableError, match="Is the URL the control plane's"):
            await do(server.url, lambda client: client.regions.list())


_WEBHOOK = (
    '{"id":"%s","url":"u","name":"","events":[],"is_active":true,"inactive_because":null,"failures":0,"failing_since":null,'
    '"created_at":"2026-11-22T12:00:00Z","comes_later":1}'
)


def _page(*ids: str, cursor: str | None) -> bytes:
    items = ",".join(_WEBHOOK % each for each in ids)
    following = "null" if cursor is None else f'"{cursor}"'
    return answer(f'{{"items":[{items}],"next_cursor":{following}}}')


async def test_pages_are_asked_for_when_they_are_needed() -> None:
    async with scripted(_page("a", "b", cursor="x+/="), _page(cursor="y"), _page("c", cursor=None)) as server:

        def read() -> None:
            with Client(server.url, "a-token") as client:
                webhooks = client.webhooks.list()
                assert len(server.requests) == 0
                assert [next(webhooks).id, next(webhooks).id] == ["a", "b"]
                assert len(server.requests) == 1
                assert [each.id for each in webhooks] == ["c"]

        await asyncio.to_thread(read)
    assert [each.split()[1] for each in server.requests] == [
        "/api/v1/webhooks",
        "/api/v1/webhooks?cursor=x%2B%2F%3D",
        "/api/v1/webhooks?cursor=y",
    ]


async def test_pages_are_awaited_when_they_are_needed() -> None:
    async with scripted(_page("a", cursor="x"), _page("b", cursor=None)) as server, AsyncClient(server.url, "a-token") as client:
        webhooks = client.webhooks.list()
        assert (await anext(webhooks)).id == "a"
        assert len(server.requests) == 1
        assert [each.id async for each in webhooks] == ["b"]


async def test_a_page_that_is_refused_ends_the_iteration_with_the_problem() -> None:
    body = '{"type":"t","title":"A","status":404,"detail":"Gone.","code":"not_found","request_id":"r"}'
    async with scripted(_page("a", cursor="x"), answer(body, status=404)) as server, AsyncClient(server.url, "a-token") as client:
        with pytest.raises(NotFoundError, match="Gone"):
            _ = [each async for each in client.webhooks.list()]
