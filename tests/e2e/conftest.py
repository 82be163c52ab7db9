"""The whole of turnfleet, once per test process: two regions, each with a real coturn and its agent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.fresh_stack import fresh_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """A test that stops a part of it starts it again before it ends."""
    async with fresh_stack({"TURNFLEET_LOG_LEVEL": "debug", "TURNFLEET_AGENT_LOG_LEVEL": "debug"}) as running:
        yield running
