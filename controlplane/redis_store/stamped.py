"""A hash and, beside it, when each field was written by Redis' own clock: so that a reader gets what changed since it last looked.

Replicas whose clocks differ still agree on every age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

_CHUNK = 500
"""Members per HMGET inside the script: Lua's stack holds 8,000, and small chunks keep Redis responsive."""

PUT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], now, ARGV[i])
end
return now
"""

_FORGET = """
for i = 1, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[2], ARGV[i])
end
"""

_SILENT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[1])
"""

_CHANGED = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], '+inf', 'WITHSCORES')
local ids, scores = {{}}, {{}}
for i = 1, #found, 2 do
  ids[#ids + 1] = found[i]
  scores[#scores + 1] = found[i + 1]
end
local blobs = {{}}
for i = 1, #ids, {_CHUNK} do
  local part = redis.call('HMGET', KEYS[1], unpack(ids, i, math.min(i + {_CHUNK} - 1, #ids)))
  for _, blob in ipairs(part) do blobs[#blobs + 1] = blob end
end
return {{now, ids, scores, blobs}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    field: str
    age_seconds: float
    """How long before this reading it was written."""
    blob: bytes


class StampedHash:
    """The keys are of the hash and of its sorted set of times. Every call raises what the client raises."""

    def __init__(self, client: Redis, *, values: str, times: str) -> None:
        self._keys = [values, times]
        self._put = client.register_script(PUT)
        self._changed = client.register_script(_CHANGED)
        self._forget = client.register_script(_FORGET)
        self._silent = client.register_script(_SILENT)

    async def put(self, values: Sequence[tuple[str, bytes]]) -> None:
        """Written now."""
        await self._put(keys=self._keys, args=[part for value in values for part in value])

    async def forget(self, fields: Sequence[str]) -> None:
        """Those that are not there are no fault."""
        await self._forget(keys=self._keys, args=fields)

    async def silent_for(self, seconds: float) -> list[str]:
        """The fields that were not written for so long."""
        found = cast("list[bytes]", await self._silent(keys=self._keys, args=[int(seconds * 1000)]))
        return [each.decode() for each in found]

    async def changed_since(self, cursor: int) -> tuple[int, list[Stamped]]:
        """The cursor for the next reading, and what was written since the reading that gave `cursor`; 0 for everything."""
        now, ids, scores, blobs = cast(
            "tuple[int, list[bytes], list[bytes], list[bytes | None]]", await self._changed(keys=self._keys, args=[cursor])
        )
        if now < cursor:  # another Redis took over with an earlier clock: read everything
            return await self.changed_since(0)
        return now, [
            Stamped(field=field.decode(), age_seconds=max(0.0, (now - float(score)) / 1000), blob=blob)
            for field, score, blob in zip(ids, scores, blobs, strict=True)
            if blob is not None
        ]
