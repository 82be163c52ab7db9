"""What is too old goes: records, the addresses in younger ones, usage, rooms and clients, the audit, the fleet's past.

Whole days of records and history are dropped as partitions. Everything else is deleted in bounded pieces, for at most a minute
per run; what is left then comes next time. Doing it again changes nothing, so that two leaders at once would do no harm.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

import structlog

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.history import MINUTES_KEPT
from controlplane.postgres_store.retention import (
    Blocks,
    Parent,
    blocks_of,
    delete_audit,
    delete_events,
    delete_join_tokens,
    delete_late_records,
    delete_node_expiries,
    delete_rolls,
    delete_subjects,
    delete_usage,
    drop_oldest_partition,
    forget_addresses,
    partitions_with_addresses,
)

_RUN_SECONDS = 60.0
_ROWS = 5000
_BLOCKS = 200
"""1.6 MB: some 6,000 credentials."""
_WALK_SECONDS = 20 * 3600.0
"""A table without an index by age is gone through once a day. Records that arrive late are found then."""
_RECORDS: tuple[Literal["credentials", "allocations"], ...] = ("credentials", "allocations")
_SPENT = timedelta(days=1)
"""How long join tokens that have expired, and expiries that are over, are kept: longer than anything asks for them."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long things are kept: see the settings of these names."""

    records: timedelta
    client_addresses: timedelta
    usage: timedelta
    audit: timedelta
    events: timedelta
    history: timedelta


@dataclass(slots=True)
class _Walk:
    """How far a table has been gone through in this term."""

    next_block: int = 0
    ended_at: float | None = None
    """Monotonic."""


class Retention:
    """One per leader's term: a new one goes through the tables again."""

    def __init__(self, database: Database, kept: Kept, *, run_seconds: float = _RUN_SECONDS) -> None:
        self._database = database
        self._kept = kept
        self._run_seconds = run_seconds
        self._until = 0.0
        self._walks: dict[str, _Walk] = {}

    async def run(self) -> bool:
        """Whether all was done within the time of one run. Raises DatabaseUnavailableError: what was done is done."""
        self._until = time.monotonic() + self._run_seconds
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        records_from = today - self._kept.records
        usage_from = today - self._kept.usage
        for parent in _RECORDS:
            await self._drop_days(parent, records_from)
        for parent in _RECORDS:
            await self._delete(partial(delete_late_records, self._database, parent, records_from, limit=_ROWS))
        await self._drop_days("node_minutes", today - MINUTES_KEPT)
        await self._drop_days("node_ten_minutes", today - self._kept.history)
        await self._drop_days("region_minutes", today - self._kept.history)
        await self._delete(partial(delete_usage, self._database, "hour", records_from, limit=_ROWS))
        await self._delete(partial(delete_usage, self._database, "day", usage_from, limit=_ROWS))
        await self._delete(partial(delete_audit, self._database, today - self._kept.audit, limit=_ROWS))
        for delete in (delete_events, delete_rolls):
            await self._delete(partial(delete, self._database, today - self._kept.events, limit=_ROWS))
        for delete in (delete_node_expiries, delete_join_tokens):
            await self._delete(partial(delete, self._database, today - _SPENT, limit=_ROWS))
        await self._forget_addresses(datetime.now(UTC) - self._kept.client_addresses)
        await self._walk("subjects", partial(delete_subjects, self._database, usage_from))
        return self._in_time()

    def _in_time(self) -> bool:
        return time.monotonic() < self._until

    async def _drop_days(self, parent: Parent, before_at: datetime) -> None:
        while self._in_time():
            dropped = await drop_oldest_partition(self._database, parent, before_at.date())
            if dropped is None:
                break
            self._walks.pop(dropped, None)
            log.info("day_dropped", partition=dropped)

    async def _delete(self, piece: Callable[[], Awaitable[int]]) -> None:
        while self._in_time() and await piece() == _ROWS:
            pass

    async def _forget_addresses(self, before_at: datetime) -> None:
        for partition, blocks in (await partitions_with_addresses(self._database, before_at)).items():
            await self._walk(partition, partial(forget_addresses, self._database, partition, before_at), blocks=blocks)

    async def _walk(self, table: str, piece: Callable[[Blocks], Awaitable[int]], *, blocks: int | None = None) -> None:
        """Stretch by stretch through a table; on with it in the next run when the time is up."""
        walk = self._walks.setdefault(table, _Walk())
        if walk.ended_at is not None:
            if time.monotonic() - walk.ended_at < _WALK_SECONDS:
                return
            walk = self._walks[table] = _Walk()
        end = await blocks_of(self._database, table) if blocks is None else blocks
        changed = 0
        while walk.next_block < end:
            if not self._in_time():
                return
            changed += await piece(Blocks(first=walk.next_block, end=walk.next_block + _BLOCKS))
            walk.next_block += _BLOCKS
        walk.ended_at = time.monotonic()
        if changed:
            log.info("old_rows_cleared", table=table, rows=changed)
