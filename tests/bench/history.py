"""What it costs to keep the history of a big fleet: each look, each minute, each sum of ten minutes, a day's size, and reading it.

Starts its own PostgreSQL, writes hours of minutes as the leader does, and reads them as the charts do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg

from controlplane.fleet.history import Minute
from controlplane.fleet.node_state import nodes_by_region
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.history import insert_minute, node_history, region_history, sum_up_ten_minutes
from controlplane.postgres_store.migrate import migrate
from deploy.local.postgres import private_postgres
from tests.bench._big_fleet import make_nodes, make_regions, make_view

_LOOKS = 6
_TABLES = ("node_minutes", "node_ten_minutes", "region_minutes")


async def measure(*, regions: int, per_region: int, hours: int) -> dict[str, Any]:
    places = make_regions(regions)
    nodes = make_nodes(places, per_region)
    view = make_view(places, nodes)
    taken: dict[str, list[float]] = {}
    async with private_postgres() as postgres:
        await asyncio.to_thread(migrate, postgres.url)
        connection = await asyncpg.connect(postgres.url)
        database = Database(postgres.url, connections=1, statement_seconds=10.0)
        await connection.execute("UPDATE leader SET epoch = 1")
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        for number in range(hours * 60):
            at = today + timedelta(minutes=number)
            minute = Minute()
            for _ in range(_LOOKS):
                began = time.perf_counter()
                for slug, states in nodes_by_region(view.states(now=time.monotonic())).items():
                    minute.add_region(slug, states, operational=True, fresh_seconds=1e9)
                taken.setdefault("look", []).append(time.perf_counter() - began)
            await _timed(taken, "minute", insert_minute(database, at, minute.nodes, minute.regions, epoch=1))
            if number % 10 == 9:
                await _timed(taken, "ten_minutes", sum_up_ten_minutes(database, at.replace(minute=at.minute // 10 * 10), epoch=1))
        end = today + timedelta(hours=hours)
        for node in nodes[:: max(1, len(nodes) // 50)]:
            node_id = UUID(node.node_id)
            for name, step, coarse in (("node_by_minutes", 60, False), ("node_by_ten_minutes", 600, True)):
                await _timed(
                    taken,
                    name,
                    node_history(database, node_id, from_at=today, to_at=end, step=timedelta(seconds=step), coarse=coarse),
                )
        for region in places[:50]:
            await _timed(
                taken,
                "region",
                region_history(database, region.slug, from_at=today, to_at=end, step=timedelta(minutes=5)),
            )
        sizes = {
            table: await connection.fetchval(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = $1::regclass", table
            )
            for table in _TABLES
        }
        await database.close()
        await connection.close()
    return {
        "nodes": len(nodes),
        "hours": hours,
        "milliseconds": {
            name: {"median": round(median(each) * 1000, 1), "worst": round(max(each) * 1000, 1)} for name, each in taken.items()
        },
        "megabytes_per_day": {table: round(float(size) / 1e6 * 24 / hours) for table, size in sizes.items()},
    }


async def _timed(taken: dict[str, list[float]], name: str, what: Awaitable[object]) -> None:
    began = time.perf_counter()
    await what
    taken.setdefault(name, []).append(time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/dev bench history", description=__doc__)
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--per-region", type=int, default=100)
    parser.add_argument("--hours", type=int, default=2)
    options = parser.parse_args()
    found = asyncio.run(measure(regions=options.regions, per_region=options.per_region, hours=options.hours))
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
