"""The stream by which replicas tell each other what they placed, a quarter of a second late. No request waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
from redis.asyncio import Redis

from controlplane.fleet.view import Placed
from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import PLACEMENTS

KEPT_SECONDS = 16.0
"""Older placements are in every node's report. A replica that has only just begun reads no further back."""
_READ_AT_ONCE = 200
"""Entries per exchange: four a second of 16 replicas are 16."""

# Redis' own clock numbers the entries, so the replicas' clocks do not matter. A cursor of another Redis may be in its future.
_EXCHANGE = f"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = now - {int(KEPT_SECONDS * 1000)}
if ARGV[2] ~= '' then
  redis.call('XADD', KEYS[1], 'MINID', '~', oldest, '*', 'replica', ARGV[1], 'number', ARGV[2], 'placed', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], {int(KEPT_SECONDS * 4000)})
end
local since = ARGV[4]
if since == '' or tonumber(string.match(since, '^%d+')) > now + 1000 then since = oldest .. '-0' end
local found = redis.call('XREAD', 'COUNT', {_READ_AT_ONCE}, 'STREAMS', KEYS[1], since)
if not found then return {{since}} end
local entries = found[1][2]
local answer = {{entries[#entries][1]}}
for _, entry in ipairs(entries) do
  if entry[2][2] ~= ARGV[1] and entry[2][4] and entry[2][6] then
    answer[#answer + 1] = entry[2][2]
    answer[#answer + 1] = entry[2][4]
    answer[#answer + 1] = entry[2][6]
  end
end
return answer
"""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[str, int, float, float, float]])


class PlacementsUnavailableError(Exception):
    """Redis did not answer in time, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one replica placed since its last batch."""

    replica: str
    number: int
    """Rises. A batch whose answer was lost is sent again under the same number."""
    placed: Sequence[Placed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    cursor: str
    """To be given to the next exchange."""
    batches: list[Batch]
    """Of other replicas. Damaged ones, and those of a newer form, are left out."""


class PlacementStream:
    """Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._exchange = client.register_script(_EXCHANGE)

    @classmethod
    def connect(cls, url: str) -> PlacementStream:
        """Connects at the first call."""
        return cls(connect_redis(url, connections=1))

    async def close(self) -> None:
        await self._client.aclose()

    async def exchange(self, batch: Batch, *, cursor: str) -> Told:
        """Tell what this replica placed, if anything, and read what the others did since `cursor` ("": lately).

        Raises PlacementsUnavailableError; whether the batch was told is then unknown.
        """
        rows = [(each.node_id, each.report, each.bits_per_second, each.allocations, each.uses) for each in batch.placed]
        arguments: list[str | bytes] = [batch.replica, str(batch.number) if rows else "", _encoder.encode(rows), cursor]
        with available_or(PlacementsUnavailableError):
            answer = cast("list[bytes]", await self._exchange(keys=[PLACEMENTS], args=arguments))
        batches = []
        for replica, number, blob in zip(answer[1::3], answer[2::3], answer[3::3], strict=True):
            try:
                placed = [
                    Placed(node_id=node_id, report=report, bits_per_second=bits, allocations=allocations, uses=uses)
                    for node_id, report, bits, allocations, uses in _decoder.decode(blob)
                ]
                batches.append(Batch(replica=replica.decode(), number=int(number), placed=placed))
            except (msgspec.MsgspecError, ValueError):
                continue
        return Told(cursor=answer[0].decode(), batches=batches)
