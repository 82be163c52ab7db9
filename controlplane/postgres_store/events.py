"""Fleet events, written by the leader alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.outbox import EventType, tell


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetEvent:
    happened_at: datetime
    kind: str
    region: str | None
    node_id: UUID | None
    was: str | None
    became: str | None
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNews:
    """What the webhooks of every project are told."""

    kind: EventType
    happened_at: datetime
    data: Mapping[str, Any]


async def insert_events(database: Database, events: Sequence[FleetEvent], *, epoch: int, news: Sequence[FleetNews] = ()) -> None:
    """The events, and what webhooks are told of them, in one transaction."""
    async with database.transaction() as connection:
        if await write_events(connection, events, epoch=epoch):
            for each in news:
                await tell(connection, each.kind, each.data, happened_at=each.happened_at, project_id=None)


async def write_events(connection: Any, events: Sequence[FleetEvent], *, epoch: int) -> bool:
    """Write nothing (False) when `epoch` is no longer the newest term: a frozen ex-leader must not speak for the fleet."""
    if not await queries.hold_epoch(connection, epoch=epoch):
        return False
    await queries.insert_events(
        connection,
        happened_at=[each.happened_at for each in events],
        kind=[each.kind for each in events],
        region=[each.region for each in events],
        node_id=[each.node_id for each in events],
        was=[each.was for each in events],
        became=[each.became for each in events],
        reason=[each.reason for each in events],
        # Words of agents among them: PostgreSQL takes no NUL, and one of them would hold up everybody's events.
        detail=[each.detail.replace("\0", "") for each in events],
    )
    return True


async def last_health(database: Database) -> dict[str, str]:
    """Per node id, the health that its last event told."""
    async with database.connection() as connection:
        return {str(row["node_id"]): row["became"] async for row in queries.last_health(connection)}


async def last_region_states(database: Database) -> dict[str, str]:
    """Per region's slug, what its last event told: up or down."""
    async with database.connection() as connection:
        return {row["region"]: row["became"] async for row in queries.last_region_states(connection)}
