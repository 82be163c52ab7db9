"""Looking up the names of relays: in threads of their own, and each name once at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

NO_ANSWER = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM})
"""Of getaddrinfo: nobody answered. Or somebody said that he cannot find out, which it does not tell apart."""
_THREADS = 32


@dataclass(slots=True)
class _LookUp:
    future: Future[list[str]]
    waiting: int = 0


class Names:
    """Of one process. One look-up may wait for a quarter of a minute: other work must not wait behind it."""

    def __init__(self, ask: Callable[[str], list[str]] | None = None) -> None:
        """`ask` raises socket.gaierror; by default it is the system's resolver."""
        self._ask = _ask if ask is None else ask
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="look-up")
        self._running: dict[str, _LookUp] = {}

    async def look_up(self, name: str) -> list[str]:
        """Its addresses, those first that this machine reaches best. Raises socket.gaierror. Has no deadline of its own."""
        running = self._running.get(name)
        if running is None or running.future.done():
            running = self._running[name] = _LookUp(self._threads.submit(self._ask, name))
        shared = asyncio.wrap_future(running.future)
        shared.add_done_callback(_seen)
        running.waiting += 1
        try:
            return await asyncio.shield(shared)  # who gives up must not end it for the others
        finally:
            running.waiting -= 1
            if not running.waiting:
                running.future.cancel()  # where it has not begun
                if self._running.get(name) is running:
                    del self._running[name]


def _seen(shared: asyncio.Future[list[str]]) -> None:
    """Nobody may be left who would ask what became of it."""
    if not shared.cancelled():
        shared.exception()


def _ask(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no name can be so long, or hold such characters") from None
    return [str(address[0]) for *_, address in found]


names = Names()
