"""One running API for the contract tests of a module, with a node in each of two regions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.local.redis_server import RedisServer, private_redis
from tests.running_api import RunningApi, SimulatedNode, running_api


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_redis() -> AsyncIterator[RedisServer]:
    async with private_redis() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(module_database_url: str, module_redis: RedisServer) -> AsyncIterator[RunningApi]:
    folder = Path(tempfile.mkdtemp(prefix="turnfleet-api-"))
    async with running_api(module_database_url, module_redis.url, folder) as running:
        await running.put_region("eu-central")
        await running.put_region("us-east", 39.04, -77.49, "US")
        nodes = [SimulatedNode(running, "eu-1", "eu-central"), SimulatedNode(running, "us-1", "us-east")]
        for node in nodes:
            await node.bring_up()
            node.keep_beating()
        try:
            yield running
        finally:
            for node in nodes:
                await node.stop_beating()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def behind_a_proxy(module_database_url: str, module_redis: RedisServer) -> AsyncIterator[RunningApi]:
    """A second replica, which believes X-Forwarded-For."""
    folder = Path(tempfile.mkdtemp(prefix="turnfleet-api-"))
    async with running_api(module_database_url, module_redis.url, folder, TURNFLEET_TRUSTED_PROXIES="127.0.0.0/8") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)
