"""Fleet events as they are read: page by page, or on and on after an id. Ids become visible in their order (see the migration)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    id: int
    happened_at: datetime
    kind: str
    region: str | None
    node_id: UUID | None
    node: str | None
    """Its name when it happened; None for an event that is of no node."""
    was: str | None
    became: str | None
    reason: str
    detail: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    newest_id: int
    """0: nothing has happened yet."""
    forgotten_id: int
    """Events up to this one may have been deleted."""
    later: int
    """How many events lie after the id that was asked about, as far as they were counted."""


async def events_where(
    database: Database,
    *,
    node_id: UUID | None = None,
    node_name: str | None = None,
    region: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before_id: int | None = None,
    rows: int,
) -> list[LoggedEvent]:
    """The newest first, those older than `before_id`. A filter that is None is none; `until` itself is outside."""
    async with database.connection() as connection:
        found = queries.events_where(
            connection,
            node_id=node_id,
            node_name=node_name,
            region=region,
            kind=kind,
            since=since,
            until=until,
            before_id=before_id,
            rows=rows,
        )
        return [LoggedEvent(**row) async for row in found]


async def events_after(database: Database, after_id: int, *, rows: int) -> list[LoggedEvent]:
    """The oldest first. Whatever is not in it and has a lower id than its last was never written, or deleted."""
    async with database.connection() as connection:
        return [LoggedEvent(**row) async for row in queries.events_after(connection, after_id=after_id, rows=rows)]


async def log_place(database: Database, after_id: int, *, count_up_to: int) -> LogPlace:
    async with database.connection() as connection:
        return LogPlace(**await queries.event_log_place(connection, after_id=after_id, rows=count_up_to))
