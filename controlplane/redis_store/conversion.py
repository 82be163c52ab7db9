"""What credentials were found to bring: written by the leader, read by every replica in the background, never by a request."""

from __future__ import annotations

from typing import cast

import msgspec
from redis.asyncio import Redis

from controlplane.fleet.conversion import Conversion, Counts, Rates
from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import CONVERSION

STORED_VERSION = 1
_MOST = 1e15


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """Positional. New fields go to the end, with a default."""

    version: int
    at: float
    fleet: Counts
    projects: dict[str, Counts]
    rates: Rates


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class ConversionUnavailableError(Exception):
    """Redis did not answer in time, or refused."""


class ConversionStore:
    """Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str) -> ConversionStore:
        """Connects at the first call."""
        return cls(connect_redis(url, connections=1))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, conversion: Conversion) -> None:
        """Raises ConversionUnavailableError."""
        with available_or(ConversionUnavailableError):
            stored = _Stored(STORED_VERSION, conversion.at, conversion.fleet, conversion.projects, conversion.rates)
            await self._client.set(CONVERSION, _encoder.encode(stored))

    async def get(self) -> Conversion | None:
        """None: nothing was learned yet, or what is there is damaged or of another release. Raises ConversionUnavailableError."""
        with available_or(ConversionUnavailableError):
            blob = cast("bytes | None", await self._client.get(CONVERSION))
        try:
            stored = _decoder.decode(blob) if blob else None
        except (msgspec.MsgspecError, ValueError):
            return None
        if stored is None or stored.version != STORED_VERSION or not _is_sound(stored):
            return None
        return Conversion(at=stored.at, fleet=stored.fleet, projects=stored.projects, rates=stored.rates)


def _is_sound(stored: _Stored) -> bool:
    """A NaN would go on into every choice of a node."""
    numbers = [stored.at, stored.rates.bits_per_second, stored.rates.sessions]
    for counts in (stored.fleet, *stored.projects.values()):
        numbers += (counts.issued, counts.relayed, counts.used, counts.allocations)
    return all(0 <= number < _MOST for number in numbers)
