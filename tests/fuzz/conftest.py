"""One API with an organization, a project and a node that takes clients, for everything in this folder."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.local.redis_server import private_redis
from tests.running_api import RunningApi, SimulatedNode, running_api


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def fuzzed_api(package_database_url: str) -> AsyncIterator[RunningApi]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-test-") as folder:
        # The rate limit is tried elsewhere: here it would answer most of the cases.
        limit = {"TURNFLEET_TOKEN_REQUESTS_PER_SECOND": "100000"}
        async with private_redis() as redis, running_api(package_database_url, redis.url, Path(folder), **limit) as api:
            await api.put_region("eu-central")
            node = SimulatedNode(api, "fuzzed", "eu-central")
            await node.bring_up()
            node.keep_beating()
            yield api
            await node.stop_beating()
