"""What webhooks are to be told: written in the transaction of what happened, sent by the leader."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from controlplane.postgres_store.database import queries

EventType = Literal[
    "credential.revoked", "allocation.started", "allocation.ended", "region.down", "region.up", "node.down", "quota.reached"
]


async def tell(
    connection: Any, kind: EventType, data: Mapping[str, Any], *, happened_at: datetime, project_id: UUID | None
) -> None:
    """Put an event into the outbox. Without a project it is news about the fleet, for the webhooks of every project."""
    await queries.insert_outbox(
        connection,
        event_id=uuid7(),
        project_id=project_id,
        type=kind,
        happened_at=happened_at,
        data=msgspec.json.encode(data).decode(),
    )
