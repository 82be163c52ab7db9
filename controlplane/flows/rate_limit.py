"""Rate limits that no request waits for: tokens are leased from Redis ahead, by one loop for all limits in use."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import islice
from uuid import UUID

import structlog
from uuid_utils import uuid7

from controlplane.fleet.token_bucket import LeasedBucket
from controlplane.redis_store.keys import rate_bucket
from controlplane.redis_store.rate_limits import ASKS_PER_CALL, Ask, RateLimits, RateLimitsUnavailableError

_PERIOD_SECONDS = 0.1
_REGISTER_SECONDS = 1.0
"""With nothing to exchange, a replica says this often that it lives."""
_FORGET_SECONDS = 10.0
"""An idle bucket is forgotten when it must be full again, whatever was owed."""
_REMEMBERED = 20_000
"""Limits in use at a time. Beyond it the one that has been idle longest starts anew."""

_Key = tuple[str, UUID | str]

log = structlog.get_logger()


class RateLimiter:
    """One per replica. Run `run()` as a task; `start()` before serving tells how many replicas share the limits."""

    def __init__(self, store: RateLimits) -> None:
        self.replicas = 1
        """Live replicas by the last exchange; kept while Redis is away."""
        self._store = store
        self._identity = str(uuid7())
        self._draw = random.random  # keeps replicas out of step; nothing secret is drawn from it
        self._active: dict[_Key, LeasedBucket] = {}
        self._idle: dict[_Key, LeasedBucket] = {}
        """Oldest first."""
        self._exchanged_at = 0.0
        self._failing = False

    def take(self, kind: str, identity: UUID | str, limit: int) -> tuple[bool, LeasedBucket]:
        """Whether one more request may pass, and what its limit looks like now. `limit` is per second."""
        now = time.monotonic()
        key = (kind, identity)
        bucket = self._active.get(key) or self._activate(key, limit, now)
        if bucket.limit != limit:
            bucket.change_limit(limit)
        return bucket.take(now), bucket

    def _activate(self, key: _Key, limit: int, now: float) -> LeasedBucket:
        bucket = self._idle.pop(key, None)
        if bucket is not None:
            bucket.wake(now)
        else:
            if len(self._active) + len(self._idle) >= _REMEMBERED:
                oldest = self._idle or self._active
                del oldest[next(iter(oldest))]
            bucket = LeasedBucket(limit=limit, replicas=self.replicas, settled_at=now)
        self._active[key] = bucket
        return bucket

    async def start(self) -> None:
        """One try at being counted, so that the first requests share the limit rightly."""
        await self.exchange()

    async def run(self) -> None:
        while True:
            # No two replicas in step: who asks just before another would get nearly everything, time after time.
            await asyncio.sleep(_PERIOD_SECONDS * (0.75 + 0.5 * self._draw()))
            await self.exchange()

    async def close(self) -> None:
        try:
            await self._store.leave(self._identity)
        except RateLimitsUnavailableError:
            log.info("rate_limits_left_silently")  # the others notice by themselves
        await self._store.close()

    async def exchange(self) -> None:
        """Pay what was granted on credit, lease what will be needed, give back what was not."""
        now = time.monotonic()
        self._forget(now)
        buckets = list(self._active.items())
        if not buckets and now - self._exchanged_at < _REGISTER_SECONDS:
            return
        for first in range(0, max(1, len(buckets)), ASKS_PER_CALL):
            if not await self._exchange_some(buckets[first : first + ASKS_PER_CALL]):
                return

    async def _exchange_some(self, buckets: list[tuple[_Key, LeasedBucket]]) -> bool:
        asks = []
        for (kind, identity), bucket in buckets:
            owed, want = bucket.ask()
            asks.append(Ask(key=rate_bucket(kind, str(identity)), limit=bucket.limit, owed=owed, want=want))
        try:
            self.replicas, grants = await self._store.exchange(self._identity, asks)
        except RateLimitsUnavailableError as error:
            if not self._failing:
                log.warning("rate_limits_not_shared", reason=str(error), replicas=self.replicas)
            self._failing = True
            return False
        if self._failing:
            log.info("rate_limits_shared_again", replicas=self.replicas)
        self._failing = False
        self._exchanged_at = now = time.monotonic()
        for (key, bucket), ask, grant in zip(buckets, asks, grants, strict=True):
            bucket.settle(owed=ask.owed, granted=grant.granted, level=grant.level, replicas=self.replicas, now=now)
            if bucket.idle and self._active.get(key) is bucket:
                self._idle[key] = self._active.pop(key)
        return True

    def _forget(self, now: float) -> None:
        old = [key for key, bucket in islice(self._idle.items(), ASKS_PER_CALL) if now - bucket.settled_at > _FORGET_SECONDS]
        for key in old:
            del self._idle[key]
