"""Reading and writing the nodes' newest reports. Every call has a deadline of a tenth of a second; none is on a request's path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from controlplane.fleet.model import NodeRecord
from controlplane.redis_store.connection import connect_redis
from controlplane.redis_store.keys import NODES, SEEN
from controlplane.redis_store.records import RecordUnreadableError, decode_record, encode_record

_CONNECTIONS = 4
_CHUNK = 500
"""Members per HMGET and ZADD inside the scripts: Lua's stack holds 8,000, and small chunks keep Redis responsive."""

# Redis' own clock stamps every receipt: replicas with different clocks still agree on every age.
_PUT = """
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


class LiveStateUnavailableError(Exception):
    """Redis did not answer in time, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRecord:
    node_id: str
    age_seconds: float
    """How long before this reading it was received, by Redis' clock."""
    record: NodeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    cursor: int
    """To be given to the next reading."""
    records: list[SeenRecord]
    unreadable: int
    """Records of a newer release or damaged ones, left out."""


class LiveState:
    """The fleet's live state. Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._put = client.register_script(_PUT)
        self._changed = client.register_script(_CHANGED)
        self._forget = client.register_script(_FORGET)
        self._silent = client.register_script(_SILENT)

    @classmethod
    def connect(cls, url: str) -> LiveState:
        """A client for `url` (redis://, rediss://, unix://). Connects at the first call."""
        return cls(connect_redis(url, connections=_CONNECTIONS))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, records: Mapping[str, NodeRecord]) -> None:
        """Store the newest record of each node, received now. Raises LiveStateUnavailableError."""
        flat: list[str | bytes] = []
        for node_id, record in records.items():
            flat += (node_id, encode_record(record))
        await self._call(self._put, flat)

    async def forget(self, *node_ids: str) -> None:
        """Raises LiveStateUnavailableError."""
        await self._call(self._forget, node_ids)

    async def silent_for(self, seconds: float) -> list[str]:
        """The ids of nodes that were not heard of for so long. Raises LiveStateUnavailableError."""
        found = cast("list[bytes]", await self._call(self._silent, [int(seconds * 1000)]))
        return [each.decode() for each in found]

    async def changed_since(self, cursor: int) -> Changes:
        """What was received since the reading that gave `cursor`; 0 for everything. Raises LiveStateUnavailableError."""
        now, ids, scores, blobs = cast(
            "tuple[int, list[bytes], list[bytes], list[bytes | None]]", await self._call(self._changed, [cursor])
        )
        if now < cursor:  # another Redis took over with an earlier clock: read everything
            return await self.changed_since(0)
        records, unreadable = [], 0
        for node_id, score, blob in zip(ids, scores, blobs, strict=True):
            if blob is None:
                continue
            try:
                record = decode_record(blob)
            except RecordUnreadableError:
                unreadable += 1
                continue
            records.append(SeenRecord(node_id=node_id.decode(), age_seconds=max(0.0, (now - float(score)) / 1000), record=record))
        return Changes(cursor=now, records=records, unreadable=unreadable)

    async def _call(self, script: Any, args: Sequence[str | bytes | int]) -> object:
        try:
            return await script(keys=[NODES, SEEN], args=args)
        except (RedisError, OSError, TimeoutError) as error:
            raise LiveStateUnavailableError(f"Redis: {error}") from error
