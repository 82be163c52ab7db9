"""Which projects are at a quota: written by the leader, read by every replica in the background, never by a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from controlplane.redis_store.connection import available_or, connect_redis
from controlplane.redis_store.keys import QUOTAS_REACHED

EXPIRE_SECONDS = 15
"""Without a leader nobody knows, and nobody is refused: longer than it takes another one to lead."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[UUID])


class QuotasUnavailableError(Exception):
    """Redis did not answer in time, refused, or holds what is none of ours."""


class ReachedQuotas:
    """Create with `connect`, end with `close`."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str) -> ReachedQuotas:
        """Connects at the first call."""
        return cls(connect_redis(url, connections=1))

    async def close(self) -> None:
        await self._client.aclose()

    async def put(self, project_ids: Iterable[UUID]) -> None:
        """Replace the set. Raises QuotasUnavailableError."""
        with available_or(QuotasUnavailableError):
            await self._client.set(QUOTAS_REACHED, _encoder.encode(list(project_ids)), ex=EXPIRE_SECONDS)

    async def get(self) -> frozenset[UUID]:
        """The set; empty when nobody wrote it lately. Raises QuotasUnavailableError."""
        with available_or(QuotasUnavailableError):
            stored = cast("bytes | None", await self._client.get(QUOTAS_REACHED))
        try:
            return frozenset(_decoder.decode(stored)) if stored else frozenset()
        except msgspec.MsgspecError as error:
            raise QuotasUnavailableError(f"Redis: {error}") from error
