"""The whole of turnfleet, once per test process: two regions, each with a real coturn and its agent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.local.layout import StackOptions
from deploy.local.ports import reserve_ports
from deploy.local.stack import Stack, running_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[Stack]:
    """A test that stops a part of it starts it again before it ends."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-stack-") as folder:
        state = Path(folder)
        # PostgreSQL and coturn run under accounts of their own.
        state.chmod(0o755)  # noqa: ASYNC240 - before the loop has anything else to do
        with reserve_ports(StackOptions(state=state).ports.count) as ports:
            options = StackOptions(state=state, port_base=ports.base, durable=False, restart=False)
            async with running_stack(options) as running:
                yield running
