"""A running API with a fleet of many nodes: the directory in PostgreSQL, and reports that come through Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import UUID

import asyncpg

from controlplane.background import background
from controlplane.fleet.model import NodeRecord
from controlplane.redis_store.live_state import LiveState, LiveStateUnavailableError
from tests.bench._big_fleet import make_nodes, make_regions, record_of
from tests.builders import failed_probe
from tests.running_api import RunningApi, until

OVERVIEW = "/api/v1/fleet/overview"
_BEAT_SECONDS = 2.0
_AT_ONCE = 10


@asynccontextmanager
async def serving(api: RunningApi, *, regions: int, per_region: int, down: int) -> AsyncIterator[None]:
    """While it lasts all nodes report. `down` of each region fail their probe."""
    places = make_regions(regions)
    nodes = make_nodes(places, per_region)
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])
    await connection.executemany(
        "INSERT INTO regions (slug, name, city, country, latitude, longitude) VALUES ($1, $2, $3, 'DE', $4, $5)",
        [(each.slug, f"Name of {each.slug}", f"City of {each.slug}", each.latitude, each.longitude) for each in places],
    )
    await connection.executemany(
        "INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, $2, $3, $4)",
        [(UUID(each.node_id), each.name, each.region, UUID(each.node_id).bytes) for each in nodes],
    )
    await connection.close()
    records = {node.node_id: _record(number, number % per_region < down) for number, node in enumerate(nodes)}
    live = LiveState.connect(api.environment["TURNFLEET_REDIS_URL"])

    async def beat() -> None:
        sequence, everybody = 10, list(records.items())
        while True:
            sequence += 1
            for first in range(0, len(everybody), _AT_ONCE):  # spread over the interval, as agents are
                some = everybody[first : first + _AT_ONCE]
                with suppress(LiveStateUnavailableError):  # on a busy machine; the next one tells the same
                    await live.put({key: replace(each, report=replace(each.report, sequence=sequence)) for key, each in some})
                await asyncio.sleep(_BEAT_SECONDS * len(some) / len(everybody))

    async with background([beat()]):

        async def all_known() -> bool:
            totals = (await api.client.get(OVERVIEW, headers=api.bearer("operator"))).json()["totals"]
            return bool(
                totals["nodes_by_health"] == {"unknown": 0, "suspect": 0, "up": len(nodes) - regions * down, "down": regions * down}
            )

        await until(all_known, what="the whole fleet is known")
        yield
    await live.close()


def _record(number: int, down: bool) -> NodeRecord:
    record = record_of(number)
    return (
        record if not down else replace(record, report=replace(record.report, probe=failed_probe()), good_streak=0, proved_at=None)
    )
