"""Room in this process for trying many relays at once."""

from __future__ import annotations

import asyncio
import resource
from concurrent.futures import ThreadPoolExecutor

_OPEN_FILES = 8192
"""For 512 nodes at once with up to eight listeners each, and the rest; the usual soft limit is 1,024."""
_LOOK_UPS = 32
"""Threads that look up names, one for each listener with a name: the default of a few is for a desktop."""


def make_room() -> None:
    """To be called inside the event loop."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look-up"))
