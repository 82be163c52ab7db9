"""The same used API as the client's tests have, once for all of them: each makes what it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.redis_server import private_redis
from tests.client.used_api import Used, used_api


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def used(package_database_url: str) -> AsyncIterator[Used]:
    async with private_redis() as redis, used_api(package_database_url, redis.url) as made:
        yield made
