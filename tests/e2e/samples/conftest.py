"""One API for all samples, on a database and a Redis of its own, with nodes in three regions that only speak the agent protocol."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from deploy.local.postgres import PostgresServer
from deploy.local.redis_server import private_redis
from tests.conftest import fresh_database
from tests.e2e.samples.expected import host_of
from tests.running_api import RunningApi, SimulatedNode, running_api

REGIONS = {
    "eu-central": (50.11, 8.68, "DE"),
    "us-east": (39.04, -77.49, "US"),
    "singapore": (1.35, 103.82, "SG"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleApi:
    """What a sample's reader has: where the API is, and a project's token. And, for us, the records."""

    api: RunningApi
    database: asyncpg.Connection[asyncpg.Record]

    @property
    def port(self) -> int:
        port = urlsplit(self.api.url).port
        assert port is not None
        return port

    @property
    def token(self) -> str:
        return self.api.tokens["project_token"]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def sample_api(postgres: PostgresServer) -> AsyncIterator[SampleApi]:
    async with AsyncExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="turnfleet-samples-")))
        # Other tests empty the Redis that they share while these nodes live in theirs.
        redis = await cleanup.enter_async_context(private_redis())
        database_url = await fresh_database(postgres)
        api = await cleanup.enter_async_context(running_api(database_url, redis.url, folder))
        for region, (latitude, longitude, country) in REGIONS.items():
            await api.put_region(region, latitude, longitude, country)
            node = SimulatedNode(api, f"{region}-1", region)
            node.changes["listeners"] = [
                {"transport": transport, "host": host_of(region), "port": port}
                for transport, port in (("udp", 3478), ("tcp", 3478), ("tls", 5349))
            ]
            await node.bring_up()
            cleanup.push_async_callback(node.stop_beating)
            node.keep_beating()
        database = await asyncpg.connect(database_url)
        cleanup.push_async_callback(database.close)
        yield SampleApi(api=api, database=database)
