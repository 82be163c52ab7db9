"""The list of fleet events: order, filters, pages, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.api.callers import operator_of, pages_of
from tests.event_log import connected, write
from tests.running_api import RunningApi

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ids(api: RunningApi, module_database_url: str) -> dict[str, int]:
    """What the events are called here → their ids."""
    node_id = (await api.node("eu-1"))["node_id"]
    async with connected(module_database_url) as database:

        async def one(**fields: Any) -> int:
            return (await write(database, **fields))[0]

        return {
            "first": await one(at=NEW_YEAR, kind="t.a", region="r-1", node_id=node_id, detail="nul-free \u2028 \U0001f4a9"),
            "second": await one(at=NEW_YEAR + timedelta(hours=1), kind="t.b", region="r-1", node_id=node_id, was=None),
            "third": await one(at=NEW_YEAR + timedelta(hours=2), kind="t.a", region="r-2", node_id=uuid4()),
            "region": await one(at=NEW_YEAR + timedelta(hours=2), kind="t.region", region="r-2", reason=""),
            "nowhere": await one(at=NEW_YEAR - timedelta(hours=9), kind="t.a", region=None, became=None),
        }


async def found(api: RunningApi, ids: dict[str, int], **query: Any) -> list[str]:
    """Those of this file, as they are called; page by page."""
    named = {number: name for name, number in ids.items()}
    items = await pages_of(operator_of(api), "/fleet/events", limit=2, **query)
    return [named[each["id"]] for each in items if each["id"] in named]


async def test_the_newest_is_first_whatever_time_it_tells(api: RunningApi, ids: dict[str, int]) -> None:
    assert await found(api, ids) == ["nowhere", "region", "third", "second", "first"]


async def test_an_event_is_told_whole(api: RunningApi, ids: dict[str, int]) -> None:
    node_id = (await api.node("eu-1"))["node_id"]
    page = await operator_of(api).expect(200, "GET", "/fleet/events", params={"node": "eu-1", "kind": "t.a"})
    assert page == {
        "items": [
            {
                "id": ids["first"],
                "happened_at": "2026-01-01T00:00:00Z",
                "kind": "t.a",
                "region": "r-1",
                "node_id": node_id,
                "node": "eu-1",
                "was": "up",
                "became": "down",
                "reason": "lease_expired",
                "detail": "nul-free \u2028 \U0001f4a9",
                "actor": "system",
            }
        ],
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "t.a"}, ["nowhere", "third", "first"]),
        ({"region": "r-1"}, ["second", "first"]),
        ({"region": "r-2", "kind": "t.region"}, ["region"]),
        ({"node": "eu-1"}, ["second", "first"]),
        ({"node": "eu-1", "kind": "t.b", "region": "r-1"}, ["second"]),
        ({"node": "us-1", "kind": "t.a"}, []),
        ({"node": "no-such-node"}, []),
        ({"node": ""}, []),
        ({"region": ""}, []),
        ({"from": "2026-01-01T01:00:00Z", "to": "2026-01-01T02:00:00Z"}, ["second"]),
        ({"from": "2026-01-01T03:00:00+02:00", "kind": "t.a"}, ["third"]),
        ({"to": "2026-01-01T00:00:00Z"}, ["nowhere"]),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, []),
    ],
)
async def test_filters(api: RunningApi, ids: dict[str, int], query: dict[str, str], expected: list[str]) -> None:
    assert await found(api, ids, **query) == expected


async def test_a_node_that_was_forgotten_is_found_by_its_id(api: RunningApi, ids: dict[str, int]) -> None:
    items = (await operator_of(api).expect(200, "GET", "/fleet/events", params={"region": "r-2", "kind": "t.a"}))["items"]
    (gone,) = items
    assert gone["node"] is None
    assert await found(api, ids, node=gone["node_id"]) == ["third"]


async def test_pages_are_stable_while_more_happens(api: RunningApi, ids: dict[str, int], module_database_url: str) -> None:
    operator = operator_of(api)
    page = await operator.expect(200, "GET", "/fleet/events", params={"limit": 2, "region": "r-1"})
    async with connected(module_database_url) as database:
        await write(database, 3, region="r-1", kind="t.late")
    assert [each["id"] for each in page["items"]] == [ids["second"], ids["first"]]
    assert page["next_cursor"] is None
    page = await operator.expect(200, "GET", "/fleet/events", params={"limit": 3, "region": "r-1"})
    rest = await operator.expect(200, "GET", "/fleet/events", params={"region": "r-1", "cursor": page["next_cursor"]})
    assert [each["id"] for each in rest["items"]] == [ids["second"], ids["first"]]


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-01-01T00:00:00",
        "to=0001-01-01T00:00:00%2B14:00",
        "from=9999-12-31T23:59:59-14:00",
        "to=1e30",
        "node=%00",
        "kind=a%00",
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=x",
        "cursor=Wy0xXQ",
        "cursor=WzFlMzBd",
        "cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDhd",
        "cursor=WyJhIl0",
    ],
)
async def test_a_wrong_filter_is_refused(api: RunningApi, query: str) -> None:
    answer = await operator_of(api)("GET", f"/fleet/events?{query}")
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["project", "organization"])
@pytest.mark.parametrize("path", ["/fleet/events", "/fleet/events/stream"])
async def test_events_are_for_operators(api: RunningApi, kind: str, path: str) -> None:
    assert await operator_of(api).with_token(api.tokens[f"{kind}_token"]).code("GET", path) == "scope_missing"
