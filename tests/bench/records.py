"""Every list of records, and what is behind it, over five million credentials and one million allocations.

Starts its own PostgreSQL and API, loads, and asks for each page again and again, one request at a time. The goal is a p95 of 50 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from controlplane.postgres_store.migrate import migrate
from deploy.local.postgres import private_postgres
from deploy.local.redis_server import private_redis
from tests.bench import _records_data as data
from tests.running_api import RunningApi, running_api

GOAL_MILLISECONDS = 50.0
_DEEP_PAGES = 20
"""Pages that are turned before a deep cursor is used."""


async def measure(size: data.Size, *, rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-bench-") as name:
        async with private_postgres() as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with running_api(postgres.url, redis.url, Path(name), TURNFLEET_LOG_LEVEL="warning") as api:
                connection = await asyncpg.connect(postgres.url)
                project_id = await connection.fetchval("SELECT id FROM projects WHERE slug = 'demo'")
                await data.load(connection, project_id, size)
                await connection.close()
                calls = await _calls(api, size)
                return await _rounds(api, calls, rounds)


async def _rounds(api: RunningApi, calls: Mapping[str, str], rounds: int) -> list[dict[str, Any]]:
    """Call after call, all of them in each round, so that none is measured with everything it needs at hand from a moment ago."""
    taken: dict[str, list[float]] = {call: [] for call in calls}
    items: dict[str, int] = {}
    for number in range(rounds + 1):
        for call, path in calls.items():
            began = time.perf_counter()
            answer = await api.client.get(path, headers=api.bearer("project"))
            seconds = time.perf_counter() - began
            if answer.status_code != 200:
                raise AssertionError(f"{call}: {answer.status_code} {answer.text}")
            items[call] = len(answer.json().get("items", [None]))
            if number:  # the first round fills PostgreSQL's and the system's caches
                taken[call].append(seconds * 1000)
    return [
        {
            "call": call,
            "items": items[call],
            "p50_milliseconds": round(sorted(times)[len(times) // 2], 1),
            "p95_milliseconds": round(sorted(times)[math.ceil(len(times) * 0.95) - 1], 1),
            "path": calls[call].partition("?cursor")[0],
        }
        for call, times in taken.items()
    ]


async def _calls(api: RunningApi, size: data.Size) -> dict[str, str]:
    """What is asked for, by a name."""
    now = datetime.now(UTC)
    old = f"from={_instant(now - timedelta(days=size.days - 5))}&to={_instant(now - timedelta(days=size.days - 6))}"
    filters = {
        "": "",
        "limit=500": "limit=500",
        "large room": f"room={data.LOBBY}",
        "small room": f"room={data.RARE_ROOM}",
        "no such room": "room=nobody",
        "busy client": f"client={data.BOT}",
        "rare client": f"client={data.RARE_CLIENT}",
        "region": "region=region-3",
        "no such region": "region=nowhere",
        "busy node": f"node={data.BUSY_NODE}",
        "rare node": f"node={data.RARE_NODE}",
        "an old day": old,
        "large room, an old day": f"room={data.LOBBY}&{old}",
        "rare node, an old day": f"node={data.RARE_NODE}&{old}",
        "large room, busy client": f"room={data.LOBBY}&client={data.BOT}",
        "large room, rare client": f"room={data.LOBBY}&client={data.RARE_CLIENT}",
        "large room, region": f"room={data.LOBBY}&region=region-3",
        "large room, busy node": f"room={data.LOBBY}&node={data.BUSY_NODE}",
        "small room, busy node": f"room={data.RARE_ROOM}&node={data.BUSY_NODE}",
        "busy client, region": f"client={data.BOT}&region=region-3",
        # Two large sets with nearly nothing in both: such a page ends early, with a cursor to go on from.
        "large room, rare node": f"room={data.LOBBY}&node={data.RARE_NODE}",
        "busy client, rare node": f"client={data.BOT}&node={data.RARE_NODE}",
    }
    calls = {f"credentials: {name or 'all'}": f"/api/v1/credentials?{query}" for name, query in filters.items()}
    calls |= {f"allocations: {name or 'all'}": f"/api/v1/allocations?{query}" for name, query in filters.items()}
    for name in ("", "large room", "small room", "busy client", "rare client", "busy node", "rare node", "an old day"):
        calls[f"allocations: live, {name or 'all'}"] = f"/api/v1/allocations?state=live&{filters[name]}"
    for name in ("", "large room", "busy client", "busy node"):
        for kind in ("credentials", "allocations"):
            path = f"/api/v1/{kind}?{filters[name]}"
            calls[f"{kind}: {name or 'all'}, deep cursor"] = f"{path}&cursor={await _deep_cursor(api, path)}"
    one = (await _get(api, "/api/v1/allocations?limit=1"))["items"][0]
    calls["allocations: of a credential"] = f"/api/v1/allocations?credential={one['credential_id']}"
    calls["credentials/{id}"] = f"/api/v1/credentials/{one['credential_id']}"
    for kind, large, small in (("rooms", data.LOBBY, data.RARE_ROOM), ("clients", data.BOT, data.RARE_CLIENT)):
        calls[kind] = f"/api/v1/{kind}"
        calls[f"{kind}: limit=500"] = f"/api/v1/{kind}?limit=500"
        calls[f"{kind}: deep cursor"] = f"/api/v1/{kind}?cursor={await _deep_cursor(api, f'/api/v1/{kind}?limit=500')}"
        calls[f"{kind}: a large one"] = f"/api/v1/{kind}/{large}"
        calls[f"{kind}: a small one"] = f"/api/v1/{kind}/{small}"
    for dimension in ("project", "room", "client", "region", "node"):
        for bucket in ("hour", "day"):
            calls[f"usage: by {dimension} and {bucket}"] = f"/api/v1/usage?group_by={dimension}&bucket={bucket}"
    calls["usage: a large room by hour"] = f"/api/v1/usage?room={data.LOBBY}&bucket=hour&limit=500"
    calls["usage: a small room by hour"] = f"/api/v1/usage?room={data.RARE_ROOM}&bucket=hour"
    deep = "/api/v1/usage?group_by=room&bucket=hour&limit=500"
    calls["usage: by room and hour, deep cursor"] = f"{deep}&cursor={await _deep_cursor(api, deep)}"
    return calls


async def _get(api: RunningApi, path: str) -> Any:
    answer = await api.client.get(path, headers=api.bearer("project"))
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()


async def _deep_cursor(api: RunningApi, path: str) -> str:
    cursor = ""
    for _ in range(_DEEP_PAGES):
        cursor = (await _get(api, f"{path}&cursor={cursor}"))["next_cursor"] or cursor
    return cursor


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench records", description=__doc__)
    parser.add_argument("--credentials", type=int, default=5_000_000)
    parser.add_argument("--allocations", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30, help="that the rows are spread over: so many daily partitions")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    size = data.Size(credentials=options.credentials, allocations=options.allocations, days=options.days)
    rows = asyncio.run(measure(size, rounds=options.rounds))
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'call':<48}{'items':>6}{'p50 ms':>9}{'p95 ms':>9}")
    for row in rows:
        over = "  over the goal" if row["p95_milliseconds"] > GOAL_MILLISECONDS else ""
        print(f"{row['call']:<48}{row['items']:>6}{row['p50_milliseconds']:>9}{row['p95_milliseconds']:>9}{over}")
    over_goal = sum(row["p95_milliseconds"] > GOAL_MILLISECONDS for row in rows)
    print(f"{len(rows)} calls, {over_goal} with a p95 over {GOAL_MILLISECONDS:.0f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
