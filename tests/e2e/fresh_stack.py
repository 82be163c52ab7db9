"""A stack of its own for a test, on free ports, in a folder that is gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deploy.local.layout import StackOptions
from deploy.local.ports import reserve_ports
from deploy.local.stack import Stack, running_stack

CPU_DOES_NOT_COUNT = {"TURNFLEET_NODE_CPU_LIMIT_PERCENT": "1000"}
"""The machine is busy with tests, not with relaying: its relays would be full."""


@asynccontextmanager
async def fresh_stack(environment: Mapping[str, str] | None = None, **size: Any) -> AsyncIterator[Stack]:
    """Nothing in it is started again by itself. `size` is `regions` and `nodes_per_region`, where they are not the usual ones."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-stack-") as folder:
        state = Path(folder)
        # PostgreSQL and coturn run under accounts of their own.
        state.chmod(0o755)  # noqa: ASYNC240 - before the loop has anything else to do
        with reserve_ports(StackOptions(state=state, **size).ports.count) as ports:
            options = StackOptions(
                state=state,
                port_base=ports.base,
                durable=False,
                restart=False,
                environment=CPU_DOES_NOT_COUNT | dict(environment or {}),
                **size,
            )
            async with running_stack(options) as running:
                yield running
