"""Loops that run beside a process' main work, and end with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

_CANCEL_AGAIN_SECONDS = 0.5


@asynccontextmanager
async def background(loops: Sequence[Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Run loops beside the body. One that raises ends the body; the end of the body ends them all.

    A cancellation can get lost on the way: `asyncio.wait_for` of Python 3.11, which asyncpg waits with, drops it when its result
    comes in the same turn of the event loop. So they are cancelled again until they have ended.
    """
    async with asyncio.TaskGroup() as group:
        running = {group.create_task(loop) for loop in loops}
        try:
            yield
        finally:
            while running:
                for task in running:
                    task.cancel()
                _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
