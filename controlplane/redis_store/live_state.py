"""Reading and writing the nodes' newest reports. Every call has a deadline of a tenth of a second; none is on a request's path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from controlplane.fleet.model import NodeRecord
from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import NODES, SEEN
from controlplane.redis_store.records import RecordUnreadableError, decode_record, encode_record
from controlplane.redis_store.stamped import StampedHash

_CONNECTIONS = 4
_DECODED_AT_ONCE = 20
"""Of 10,000 nodes there are 5,000 records a second, each 25 µs: requests get their turn in between."""


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
    """Without those that this client itself put there since its last reading, as long as nobody replaced them."""
    unreadable: int
    """Records of a newer release or damaged ones, left out."""


class LiveState:
    """The fleet's live state. Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._nodes = StampedHash(client, values=NODES, times=SEEN)
        self._own: dict[str, bytes] = {}
        """What was put since the last reading."""

    @classmethod
    def connect(cls, url: str) -> LiveState:
        """A client for `url` (redis://, rediss://, unix://). Connects at the first call."""
        return cls(connect_redis(url, connections=_CONNECTIONS))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, records: Mapping[str, NodeRecord]) -> None:
        """Store the newest record of each node, received now. Raises LiveStateUnavailableError."""
        blobs = {node_id: encode_record(record) for node_id, record in records.items()}
        self._own |= blobs
        with available_or(LiveStateUnavailableError):
            await self._nodes.put(list(blobs.items()))

    async def forget(self, *node_ids: str) -> None:
        """Raises LiveStateUnavailableError."""
        with available_or(LiveStateUnavailableError):
            await self._nodes.forget(node_ids)

    async def silent_for(self, seconds: float) -> list[str]:
        """The ids of nodes that were not heard of for so long. Raises LiveStateUnavailableError."""
        with available_or(LiveStateUnavailableError):
            return await self._nodes.silent_for(seconds)

    async def changed_since(self, cursor: int) -> Changes:
        """What was received since the reading that gave `cursor`; 0 for everything. Raises LiveStateUnavailableError."""
        own, self._own = self._own, {}
        with available_or(LiveStateUnavailableError):
            now, changed = await self._nodes.changed_since(cursor)
        records, unreadable = [], 0
        others = [each for each in changed if own.get(each.field) != each.blob]
        for number, each in enumerate(others, start=1):
            if number % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                record = decode_record(each.blob)
            except RecordUnreadableError:
                unreadable += 1
                continue
            records.append(SeenRecord(node_id=each.field, age_seconds=each.age_seconds, record=record))
        return Changes(cursor=now, records=records, unreadable=unreadable)
