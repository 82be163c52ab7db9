"""Removing what is too old, piece by piece. Every call is one bounded statement. All raise DatabaseUnavailableError."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from controlplane.postgres_store.database import Database, queries

Parent = Literal["credentials", "allocations", "node_minutes", "node_ten_minutes", "region_minutes"]
"""Tables in parts by day."""
_RUNNING_SECONDS = 10.0


def retention_database(url: str) -> Database:
    """One connection, whose statements may take longer than a request may."""
    return Database(url, connections=1, statement_seconds=_RUNNING_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A stretch of a table as it lies on the disk, in PostgreSQL's blocks: first ≤ block < end."""

    first: int
    end: int


async def drop_oldest_partition(database: Database, parent: Parent, before_day: date) -> str | None:
    """The name of the day's partition that was dropped. None: no day before that one is left."""
    async with database.connection() as connection:
        name: str | None = await queries.drop_oldest_partition(connection, parent=parent, before_day=before_day)
    return name


async def partitions_with_addresses(database: Database, before_at: datetime) -> dict[str, int]:
    """The parts of credentials and allocations that hold records before an instant, each with its size in blocks."""
    async with database.connection() as connection:
        return {row["name"]: row["blocks"] async for row in queries.partitions_with_addresses(connection, before_at=before_at)}


async def forget_addresses(database: Database, partition: str, before_at: datetime, blocks: Blocks) -> int:
    """Take the client's address from the records before that instant. Returns how many had one."""
    return await _count(
        database, queries.forget_addresses, name=partition, before_at=before_at, first_block=blocks.first, end_block=blocks.end
    )


async def delete_late_records(
    database: Database, parent: Literal["credentials", "allocations"], before_at: datetime, *, limit: int
) -> int:
    """Records that arrived when their day had no partition."""
    query = queries.delete_late_credentials if parent == "credentials" else queries.delete_late_allocations
    return await _count(database, query, before_at=before_at, limit=limit)


async def delete_usage(database: Database, bucket: str, before_at: datetime, *, limit: int) -> int:
    return await _count(database, queries.delete_usage, bucket=bucket, before_at=before_at, limit=limit)


async def delete_audit(database: Database, before_at: datetime, *, limit: int) -> int:
    """Entries of before."""
    return await _count(database, queries.delete_audit, before_at=before_at, limit=limit)


async def delete_events(database: Database, before_at: datetime, *, limit: int) -> int:
    """Fleet events of before, but what each node and region was last told to be."""
    return await _count(database, queries.delete_events, before_at=before_at, limit=limit)


async def delete_node_expiries(database: Database, before_at: datetime, *, limit: int) -> int:
    """Until when secret versions were needed, of those that ended before."""
    return await _count(database, queries.delete_node_expiries_before, before_at=before_at, limit=limit)


async def delete_join_tokens(database: Database, before_at: datetime, *, limit: int) -> int:
    """Those that expired before."""
    return await _count(database, queries.delete_join_tokens, before_at=before_at, limit=limit)


async def delete_rolls(database: Database, before_at: datetime, *, limit: int) -> int:
    """Those that ended before, but each region's last one.

    A statement that deletes none would have every replica read the directory anew all the same.
    """
    async with database.transaction() as connection:
        old = [row["id"] async for row in queries.old_rolls(connection, before_at=before_at, limit=limit)]
        if old:
            await queries.delete_rolls(connection, ids=old)
    return len(old)


async def blocks_of(database: Database, table: str) -> int:
    return await _count(database, queries.blocks_of, name=table)


async def delete_subjects(database: Database, before_at: datetime, blocks: Blocks) -> int:
    """Rooms and clients that were last seen before."""
    return await _count(database, queries.delete_subjects, before_at=before_at, first_block=blocks.first, end_block=blocks.end)


async def _count(database: Database, query: Any, **parameters: Any) -> int:
    async with database.connection() as connection:
        return int(await query(connection, **parameters))
