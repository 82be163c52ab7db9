"""Fleet events, written by the leader alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controlplane.postgres_store.database import Database, queries


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


async def insert_events(database: Database, events: Sequence[FleetEvent], *, epoch: int) -> None:
    """Write nothing when `epoch` is no longer the newest term: a frozen ex-leader must not speak for the fleet."""
    async with database.connection() as connection:
        await queries.insert_events(
            connection,
            epoch=epoch,
            happened_at=[each.happened_at for each in events],
            kind=[each.kind for each in events],
            region=[each.region for each in events],
            node_id=[each.node_id for each in events],
            was=[each.was for each in events],
            became=[each.became for each in events],
            reason=[each.reason for each in events],
            detail=[each.detail for each in events],
        )


async def last_health(database: Database) -> dict[str, str]:
    """Per node id, the health that its last event told."""
    async with database.connection() as connection:
        return {str(row["node_id"]): row["became"] async for row in queries.last_health(connection)}
