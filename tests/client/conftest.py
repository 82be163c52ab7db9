"""A running API that was used, for a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.redis_server import RedisServer, private_redis
from tests.client.used_api import Used, used_api


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_redis() -> AsyncIterator[RedisServer]:
    async with private_redis() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def used(module_database_url: str, module_redis: RedisServer) -> AsyncIterator[Used]:
    async with used_api(module_database_url, module_redis.url) as made:
        yield made
