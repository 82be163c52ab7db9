"""Rooms and clients as they are read: totals and what lives now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from controlplane.fleet.allocation import MAX_AGE
from controlplane.postgres_store.database import Database, queries

Kind = Literal["room", "client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRecord:
    key: str
    first_seen_at: datetime
    last_seen_at: datetime
    credentials: int
    allocations: int
    bytes_from_client: int
    bytes_to_client: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTemplates:
    """The project's own pages about a room or a client; None: it has none."""

    room: str | None
    client: str | None


async def subjects_page(
    database: Database, project_id: UUID, kind: Kind, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[SubjectRecord]:
    """The newest first by (first_seen_at, key), those after the cursor."""
    before_at, before_key = before or (None, None)
    async with database.connection() as connection:
        rows = queries.subjects_page(
            connection, project_id=project_id, kind=kind, before_at=before_at, before_key=before_key, limit=limit
        )
        return [SubjectRecord(**row) async for row in rows]


async def subject(database: Database, project_id: UUID, kind: Kind, key: str) -> SubjectRecord | None:
    async with database.connection() as connection:
        row = await queries.subject(connection, project_id=project_id, kind=kind, key=key)
    return None if row is None else SubjectRecord(**row)


async def live_allocations(
    database: Database, project_id: UUID, kind: Kind, keys: Sequence[str], *, from_at: datetime
) -> dict[str, int]:
    """How many allocations that began since live now, per room or client; those without any are left out.

    Of one that began before MAX_AGE nothing is heard any more, so those are not looked at.
    """
    from_at = max(from_at, datetime.now(UTC) - MAX_AGE)
    async with database.connection() as connection:
        rows = queries.live_allocations(connection, project_id=project_id, kind=kind, keys=list(keys), from_at=from_at)
        return {row["key"]: row["live"] async for row in rows}


async def link_templates(database: Database, project_id: UUID) -> LinkTemplates:
    async with database.connection() as connection:
        row = await queries.link_templates(connection, project_id=project_id)
    return (
        LinkTemplates(room=None, client=None)
        if row is None
        else LinkTemplates(room=row["room_url_template"], client=row["client_url_template"])
    )
