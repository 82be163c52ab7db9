"""What a version of coturn can do. Pure, by version; an unknown version can do nothing.

The versions were found by running 4.6.1 and 4.17.1 and by reading the source per tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?![\d.])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    signal_drain: bool
    """SIGUSR1 drains. Before that version it kills the process."""
    redis_users_safe: bool
    """Long-term users in Redis do not let an unauthenticated client crash the server."""
    statsdb_safe: bool
    """The same for the Redis statistics database."""
    cli_opt_in: bool
    """The command line is off unless `cli` is configured; before, it is on unless `no-cli` is."""
    rate_limits_unauthorized: bool
    """`unauthorized-ratelimit` bounds floods of unauthenticated requests."""


NOTHING = Capabilities(
    signal_drain=False, redis_users_safe=False, statsdb_safe=False, cli_opt_in=False, rate_limits_unauthorized=False
)


def parse_version(text: str | None) -> tuple[int, int, int] | None:
    """`4.6.1` out of `Coturn-4.6.1 'Gorst'`; None where there is no version."""
    found = _VERSION.search(text or "")
    if not found:
        return None
    return int(found.group(1)), int(found.group(2)), int(found.group(3) or 0)


def of_version(text: str | None) -> Capabilities:
    version = parse_version(text)
    if version is None:
        return NOTHING
    return Capabilities(
        signal_drain=version >= (4, 6, 3),
        redis_users_safe=version >= (4, 11, 0),
        statsdb_safe=version >= (4, 13, 0),
        cli_opt_in=version >= (4, 10, 0),
        rate_limits_unauthorized=version >= (4, 14, 0),
    )
