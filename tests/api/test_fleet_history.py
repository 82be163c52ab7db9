"""History over the API: bounded, in steps, with what happened in between; and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from controlplane.api.fleet_history import MAX_POINTS, span_of
from controlplane.api.problems import ProblemError
from controlplane.wire.history_api import HistoryQuery
from tests.running_api import RunningApi, SimulatedNode, running_api

NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
KEPT = timedelta(days=30)
MINUTE = timedelta(minutes=1)


def span(
    since: datetime | None = None, until: datetime | None = None, kept: timedelta = KEPT
) -> tuple[datetime, datetime, timedelta]:
    found = span_of(HistoryQuery(since=since, until=until), now=NOW, kept=kept, finest_from=NOW - timedelta(days=2))
    assert (found.to_at - found.from_at) / found.step <= MAX_POINTS
    return found.from_at, found.to_at, found.step


def test_the_step_is_the_finest_that_stays_within_the_points() -> None:
    assert span()[1:] == (NOW, 5 * MINUTE)
    assert span(NOW - timedelta(hours=8))[2] == MINUTE
    assert span(NOW - timedelta(days=30))[2] == 120 * MINUTE
    assert span(NOW - timedelta(days=400), kept=timedelta(days=400))[2] == 1440 * MINUTE


def test_what_is_older_than_the_minutes_comes_by_ten_minutes() -> None:
    assert span(NOW - timedelta(days=3), NOW - timedelta(days=3) + 5 * MINUTE)[2] == 10 * MINUTE


def test_it_begins_at_a_step_and_ends_at_now_and_is_what_is_kept() -> None:
    from_at, to_at, step = span(NOW - timedelta(minutes=3), NOW + timedelta(days=1))
    assert (from_at, to_at, step) == (NOW.replace(minute=57, hour=11, second=0), NOW, MINUTE)
    from_at, to_at, _ = span(datetime(1, 1, 1, tzinfo=UTC))
    assert NOW - KEPT - timedelta(hours=2) < from_at <= NOW - KEPT
    from_at, to_at, _ = span(until=datetime(1, 1, 1, tzinfo=UTC))
    assert to_at == NOW - KEPT >= from_at
    from_at, to_at, _ = span(datetime(9999, 12, 31, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
    assert from_at <= to_at == NOW


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ProblemError, match="from must not be after `to`"):
        span(NOW, NOW - MINUTE)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(module_database_url: str, redis: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningApi]:
    async with running_api(module_database_url, redis.url, Path(tmp_path_factory.mktemp("history"))) as api:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        yield api


async def ask(api: RunningApi, path: str, query: dict[str, str] | None = None, *, status: int = 200) -> dict[str, Any]:
    answer = await api.client.get(f"/api/v1/fleet/{path}/history", headers=api.bearer("operator"), params=query)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def test_points_gaps_and_what_happened_in_between(api: RunningApi) -> None:
    node = await api.node("eu-1")
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])
    for ago, bits in ((30, 1e6), (28, None)):
        await connection.execute(
            """INSERT INTO node_minutes (node_id, at, ticks, reports, health, eligible_ratio, receive_bits_per_second,
                health_reason, intent)
            VALUES ($1, $2, 6, $3, $4, 1, $5, 'reporting', 'active')""",
            node["node_id"], minute - ago * MINUTE, 0 if bits is None else 6, "up" if bits else "down", bits,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became) "
        "SELECT $2::timestamptz + i * interval '1 second', 'node.health', 'eu-central', $1, 'up', i::text "
        "FROM generate_series(1, 3) i",
        node["node_id"], minute - 29 * MINUTE,
    )  # fmt: skip
    await connection.close()
    found = await ask(api, "nodes/eu-1", {"from": (minute - 31 * MINUTE).isoformat(), "to": (minute - 20 * MINUTE).isoformat()})
    assert (found["node_id"], found["step_seconds"]) == (node["node_id"], 60)
    assert [(each["health"], each["receive_bits_per_second"]) for each in found["points"]] == [("up", 1e6), ("down", None)]
    assert [each["became"] for each in found["events"]] == ["1", "2", "3"]
    assert found["events_left_out"] is False
    assert (await ask(api, f"nodes/{node['node_id']}"))["step_seconds"] == 300
    assert (await ask(api, "regions/eu-central"))["points"] == []


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("nodes/none", {}, 404),
        ("regions/none", {}, 404),
        ("regions/No", {}, 404),
        ("nodes/eu-1", {"from": "yesterday"}, 422),
        ("nodes/eu-1", {"from": "2026-11-22T03:00:00"}, 422),
        ("nodes/eu-1", {"from": "9999-12-31T23:59:59-14:00"}, 422),
        ("nodes/eu-1", {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59Z"}, 200),
        ("nodes/eu-1", {"from": "2026-11-22T03:00:00Z", "to": "2020-11-22T03:00:00Z"}, 422),
        ("nodes/eu-1", {"from": "2026-11-22T03:00:00Z\x00"}, 400),
        ("regions/eu-central", {"to": "0001-01-01T00:00:00+14:00"}, 422),
    ],
)
async def test_what_cannot_be_asked(api: RunningApi, path: str, query: dict[str, str], status: int) -> None:
    await ask(api, path, query, status=status)
