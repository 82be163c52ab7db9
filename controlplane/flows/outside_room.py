"""Room in this process for trying many relays at once."""

from __future__ import annotations

import resource

_OPEN_FILES = 8192
"""For 512 nodes at once with up to eight listeners each, and the rest; the usual soft limit is 1,024."""


def make_room() -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
