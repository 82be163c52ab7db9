"""Webhooks of a project, and the log of their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    webhook_id: UUID
    project_id: UUID
    url: str
    name: str
    events: tuple[str, ...]
    inactive_because: str | None
    """None: it is active."""
    sealed_secret: bytes
    sealed_old_secret: bytes | None
    old_secret_until: datetime | None
    failures: int
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook, as the log tells it."""

    delivery_id: UUID
    event_id: UUID
    type: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None


def webhook_from(row: Any) -> Webhook:
    return Webhook(
        webhook_id=row["id"],
        project_id=row["project_id"],
        url=row["url"],
        name=row["name"],
        events=tuple(row["events"]),
        inactive_because=row["inactive_because"],
        sealed_secret=row["sealed_secret"],
        sealed_old_secret=row["sealed_old_secret"],
        old_secret_until=row["old_secret_until"],
        failures=row["failures"],
        failing_since=row["failing_since"],
        created_at=row["created_at"],
    )


async def webhooks_of_project(database: Database, project_id: UUID, *, after: UUID | None, most: int) -> list[Webhook]:
    """In the order of their making (ids are UUIDv7), after the one of that id."""
    async with database.connection() as connection:
        rows = queries.webhooks_of_project(connection, project_id=project_id, after=after, most=most)
        return [webhook_from(row) async for row in rows]


async def find_webhook(database: Database, project_id: UUID, webhook_id: UUID) -> Webhook | None:
    async with database.connection() as connection:
        row = await queries.webhook_of_project(connection, project_id=project_id, id=webhook_id)
    return None if row is None else webhook_from(row)


async def lock_webhook(connection: Any, project_id: UUID, webhook_id: UUID) -> Webhook | None:
    """The webhook, unchanged by anybody else until the end of the transaction."""
    row = await queries.lock_webhook_of_project(connection, project_id=project_id, id=webhook_id)
    return None if row is None else webhook_from(row)


async def insert_webhook(
    connection: Any, *, webhook_id: UUID, project_id: UUID, url: str, name: str, events: Sequence[str], sealed_secret: bytes
) -> Webhook:
    row = await queries.insert_webhook(
        connection, id=webhook_id, project_id=project_id, url=url, name=name, events=list(events), sealed_secret=sealed_secret
    )
    return webhook_from(row)


async def count_webhooks(connection: Any, project_id: UUID) -> int:
    """How many the project has; it stays so until the end of the transaction."""
    await queries.lock_project(connection, id=project_id)
    return int(await queries.count_webhooks(connection, project_id=project_id))


async def update_webhook(
    connection: Any, webhook_id: UUID, *, url: str, name: str, events: Sequence[str], inactive_because: str | None, afresh: bool
) -> Webhook:
    """`afresh` forgets that it was failing."""
    row = await queries.update_webhook(
        connection, id=webhook_id, url=url, name=name, events=list(events), inactive_because=inactive_because, afresh=afresh
    )
    return webhook_from(row)


async def set_webhook_secret(connection: Any, webhook_id: UUID, sealed_secret: bytes, *, old_secret_until: datetime) -> None:
    """The one before signs as well until then."""
    await queries.rotate_webhook_secret(connection, id=webhook_id, sealed_secret=sealed_secret, old_secret_until=old_secret_until)


async def delete_webhook(connection: Any, webhook_id: UUID) -> None:
    """With its deliveries."""
    await queries.delete_webhook(connection, id=webhook_id)


async def deliveries_of_webhook(
    database: Database, webhook_id: UUID, *, state: str | None, before: tuple[datetime, UUID] | None, most: int
) -> list[Delivery]:
    """The newest first; those before that (created_at, id)."""
    before_at, before_id = before or (None, None)
    async with database.connection() as connection:
        rows = queries.deliveries_of_webhook(
            connection, webhook_id=webhook_id, state=state, before_at=before_at, before_id=before_id, most=most
        )
        return [
            Delivery(
                delivery_id=row["id"],
                event_id=row["event_id"],
                type=row["type"],
                state=row["state"],
                attempts=row["attempts"],
                created_at=row["created_at"],
                next_attempt_at=row["next_attempt_at"],
                last_attempt_at=row["last_attempt_at"],
                last_status=row["last_status"],
                last_error=row["last_error"],
            )
            async for row in rows
        ]
