"""How every client of Redis is made: with deadlines, a bounded pool and no retries behind our back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

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


@contextmanager
def available_or(unavailable: type[Exception]) -> Iterator[None]:
    """Whatever keeps Redis from answering becomes that error."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise unavailable(f"Redis: {error}") from error
