"""What webhooks are to be told: written in the transaction of what happened, sent by the leader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from controlplane.postgres_store.database import Database, queries
from controlplane.wire.webhooks_api import EventBody, EventType

__all__ = ["EventType", "expand", "tell", "tell_many"]


async def tell(
    connection: Any, kind: EventType, data: Mapping[str, Any], *, happened_at: datetime, project_id: UUID | None
) -> None:
    """Put an event into the outbox. Without a project it is news about the fleet, for the webhooks of every project."""
    body = EventBody(type=kind, timestamp=happened_at, data=data)
    await queries.insert_outbox(
        connection, event_id=uuid7(), project_id=project_id, type=kind, body=msgspec.json.encode(body).decode()
    )


async def tell_many(
    connection: Any, kind: EventType, events: Sequence[tuple[UUID, Mapping[str, Any]]], *, happened_at: datetime
) -> None:
    """Put many events, (project, data) each, into the outbox at once."""
    await queries.insert_outbox_many(
        connection,
        type=kind,
        event_ids=[uuid7() for _ in events],
        project_ids=[project_id for project_id, _ in events],
        bodies=[msgspec.json.encode(EventBody(type=kind, timestamp=happened_at, data=data)).decode() for _, data in events],
    )


async def expand(database: Database, *, epoch: int, most: int) -> int:
    """Turn the oldest events into deliveries, one per webhook that wants them; how many events were taken.

    0 when `epoch` is no longer the newest term. Raises DatabaseUnavailableError.
    """
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return 0
        return int(await queries.expand_outbox(connection, most=most))
