"""The shared buckets of rate limits, and the replicas that draw on them. Asked in the background, never by a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from controlplane.fleet.token_bucket import burst_of
from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import REPLICAS

REPLICA_SECONDS = 5.0
"""A replica that was silent for so long takes no share any more."""
ASKS_PER_CALL = 200
"""A call of this size holds Redis for a millisecond, and takes a replica's event loop for two."""

# Redis' own clock fills every bucket: the clocks of the replicas do not matter.
_EXCHANGE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local answer = {redis.call('ZCARD', KEYS[1])}
for i = 2, #KEYS do
  local first = 4 * i - 5
  local limit, burst = tonumber(ARGV[first]), tonumber(ARGV[first + 1])
  local owed, want = tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3])
  local known = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level = burst
  if known[1] then
    level = math.min(burst, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * limit / 1000)
  end
  level = level - owed
  local granted = 0
  if want > 0 then
    granted = math.max(0, math.min(want, math.floor(level)))
    level = level - granted
  else
    level = math.min(burst, level - want)
  end
  redis.call('HSET', KEYS[i], 'level', tostring(level), 'at', now)
  redis.call('PEXPIRE', KEYS[i], math.ceil((burst - level) / limit * 1000) + 1000)
  answer[#answer + 1] = granted
  answer[#answer + 1] = tostring(level)
end
return answer
"""


class RateLimitsUnavailableError(Exception):
    """Redis did not answer in time, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a replica wants of one bucket."""

    key: str
    limit: int
    """Per second."""
    owed: int
    """Tokens that were granted without a lease."""
    want: int
    """Tokens to lease; below zero: leased before and given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    granted: int
    level: float
    """What is left in the bucket; below zero when more is owed than there was."""


class RateLimits:
    """Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._exchange = client.register_script(_EXCHANGE)

    @classmethod
    def connect(cls, url: str) -> RateLimits:
        """Connects at the first call."""
        return cls(connect_redis(url, connections=1))

    async def close(self) -> None:
        await self._client.aclose()

    async def exchange(self, replica: str, asks: Sequence[Ask]) -> tuple[int, list[Grant]]:
        """(live replicas, one grant per ask). Also tells that `replica` lives. At most ASKS_PER_CALL asks.

        Raises RateLimitsUnavailableError; whether the buckets were charged is then unknown.
        """
        arguments: list[str | float] = [replica, int(REPLICA_SECONDS * 1000)]
        for ask in asks:
            arguments += (ask.limit, burst_of(ask.limit), ask.owed, ask.want)
        with available_or(RateLimitsUnavailableError):
            answer = cast("list[int | bytes]", await self._exchange(keys=[REPLICAS, *(ask.key for ask in asks)], args=arguments))
        pairs = zip(answer[1::2], answer[2::2], strict=True)
        return int(answer[0]), [Grant(granted=int(granted), level=float(level)) for granted, level in pairs]

    async def leave(self, replica: str) -> None:
        """The replica ends. Raises RateLimitsUnavailableError."""
        with available_or(RateLimitsUnavailableError):
            await self._client.zrem(REPLICAS, replica)
