"""How every client of Redis is made: with deadlines, a bounded pool and no retries behind our back."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_TIMEOUT_SECONDS = 0.1
"""redis-py waits a minute by default; a stopped Redis must cost a tenth of a second."""


def connect_redis(url: str, *, connections: int) -> Redis:
    """A client for `url` (redis://, rediss://, unix://). Connects at the first call."""
    return Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        max_connections=connections,
    )
