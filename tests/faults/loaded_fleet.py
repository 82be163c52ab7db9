"""An API with beating nodes, on stores of its own that a test may stop or kill."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from controlplane.postgres_store.migrate import migrate
from deploy.local.postgres import PostgresServer, private_postgres
from deploy.local.redis_server import RedisServer, private_redis
from tests.running_api import RunningApi, SimulatedNode, running_api


@asynccontextmanager
async def loaded_fleet() -> AsyncIterator[tuple[RunningApi, PostgresServer, RedisServer]]:
    """An API with two beating nodes, on stores of its own that the test may stop. PostgreSQL is durable."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-faults-") as folder:
        async with private_postgres(durable=True) as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with running_api(postgres.url, redis.url, Path(folder)) as api:
                await api.put_region("eu-central")
                nodes = [SimulatedNode(api, f"eu-{number}", "eu-central") for number in (1, 2)]
                for node in nodes:
                    # Big enough that a test's credentials, which never become load, do not fill them.
                    node.changes = {"capacity": {"bits_per_second": 1e12, "allocations": 10_000_000, "source": "stated"}}
                    await node.bring_up()
                    node.keep_beating()
                try:
                    yield api, postgres, redis
                finally:
                    for node in nodes:
                        await node.stop_beating()


ISSUED_BEFORE = 2
"""One to each node, when it was brought up."""


async def recorded(postgres: PostgresServer, *, room: str | None = None) -> list[str]:
    connection = await asyncpg.connect(postgres.url)
    try:
        found = await connection.fetch("SELECT id FROM credentials WHERE $1::text IS NULL OR room = $1", room)
        return [str(row["id"]) for row in found]
    finally:
        await connection.close()
