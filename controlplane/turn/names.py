"""Looking up the names of relays: in threads of their own, each name once at a time, and whether anybody answers at all."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

NO_ANSWER = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM})
"""Of getaddrinfo: nobody answered. Or somebody said that he cannot find out, which it does not tell apart."""
LATELY_SECONDS = 5.0
"""Shorter than between two tries of a node that failed: when the name servers fall silent, that is held against it once at most."""
_THREADS = 32


class Names:
    """Of one process. One look-up may wait for a quarter of a minute: other names, and other work, must not wait behind it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="look-up")
        self._running: dict[str, Future[list[str]]] = {}
        self._answered_at = float("-inf")

    async def look_up(self, name: str) -> list[str]:
        """Its addresses, those first that this machine reaches best. Raises socket.gaierror. Has no deadline of its own."""
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = self._threads.submit(self._ask, name)
            running.add_done_callback(lambda _: self._running.pop(name, None))
        return await asyncio.shield(asyncio.wrap_future(running))  # whoever gives up must not end it for the others

    def answered_lately(self) -> bool:
        """Whether somebody said of any name what it is, or that there is no such name."""
        return time.monotonic() - self._answered_at < LATELY_SECONDS

    def _ask(self, name: str) -> list[str]:
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "no name can be so long, or hold such characters") from None
        except socket.gaierror as error:
            if error.errno not in NO_ANSWER:
                self._answered_at = time.monotonic()
            raise
        self._answered_at = time.monotonic()
        return [str(address[0]) for *_, address in found]


names = Names()
