"""One thread of our own for what may wait for the disk: SQLite, the certificates, a log that is copied.

Not the event loop's default executor: that one resolves host names too, and a name server that is away would hold up the
relay's secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Disk:
    """Work is done in the order in which it was asked for. The thread begins with the first."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Ends the thread after what it is doing; what has not begun is given up."""
        self._executor.shutdown(wait=True, cancel_futures=True)
