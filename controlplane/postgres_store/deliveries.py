"""What the leader does with deliveries: claims them, writes what became of them, and keeps their number bounded.

Every write is refused when `epoch` is no longer the newest term: a frozen ex-leader must not undo what its successor did.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.webhooks import Webhook, webhook_from

_SYSTEM = Actor(token_id="system", kind="system", address=None, request_id="")  # noqa: S106 - no token: nobody asked


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """Ours to send until the lease ends."""

    delivery_id: UUID
    event_id: UUID
    type: str
    body: str
    attempts: int
    """Before this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """What became of an attempt, and what follows from it."""

    state: str
    """delivered, pending or given_up."""
    status: int | None
    error: str | None
    retry_seconds: float = 0.0
    """Until the next attempt, while it is pending."""
    rest_seconds: float = 0.0
    """For so long the webhook is sent nothing at all, when the attempt failed."""
    switch_off: str | None = None
    """Why the webhook is switched off: gone or failing."""


async def due_webhooks(database: Database, *, busy: Collection[UUID], busy_projects: Collection[UUID], most: int) -> list[Webhook]:
    """Active webhooks with something to send now, the longest waiting first, without those named."""
    async with database.connection() as connection:
        rows = queries.due_webhooks(connection, busy=list(busy), busy_projects=list(busy_projects), most=most)
        return [webhook_from(row) async for row in rows]


async def claim_deliveries(
    database: Database, webhook_id: UUID, *, epoch: int, most: int, lease_seconds: float
) -> list[ClaimedDelivery]:
    """The longest due first."""
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return []
        rows = queries.claim_deliveries(connection, webhook_id=webhook_id, epoch=epoch, most=most, lease_seconds=lease_seconds)
        claimed = sorted([row async for row in rows], key=lambda row: (row["created_at"], row["event_id"]))
    return [
        ClaimedDelivery(
            delivery_id=row["id"], event_id=row["event_id"], type=row["type"], body=row["body"], attempts=row["attempts"]
        )
        for row in claimed
    ]


async def release_deliveries(database: Database, delivery_ids: Sequence[UUID], *, epoch: int) -> None:
    """They were claimed and not sent: due again at once."""
    async with database.transaction() as connection:
        if await queries.hold_epoch(connection, epoch=epoch):
            await queries.release_deliveries(connection, ids=list(delivery_ids), epoch=epoch)


async def end_attempt(database: Database, webhook_id: UUID, delivery_id: UUID, end: AttemptEnd, *, epoch: int) -> bool:
    """Write it, and what follows for the webhook. False: the delivery is no longer ours, and nothing was written."""
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return False
        await queries.lock_webhook(connection, id=webhook_id)
        ours = await queries.end_attempt(
            connection,
            id=delivery_id,
            epoch=epoch,
            state=end.state,
            status=end.status,
            error=end.error,
            delay_seconds=end.retry_seconds,
        )
        if not ours:
            return False
        if end.state == "delivered":
            await queries.webhook_took(connection, id=webhook_id)
            return True
        await queries.webhook_failed(connection, id=webhook_id, rest_seconds=end.rest_seconds)
        if end.switch_off is not None:
            await _switch_off(connection, webhook_id, end.switch_off)
    return True


async def _switch_off(connection: Any, webhook_id: UUID, because: str) -> None:
    row = await queries.switch_webhook_off(connection, id=webhook_id, because=because)
    if row is not None:
        await give_up_pending(connection, webhook_id)
        await write_audit(
            connection,
            _SYSTEM,
            "webhook.switch_off",
            str(webhook_id),
            after={"inactive_because": because},
            organization_id=row["organization_id"],
            project_id=row["project_id"],
        )


async def give_up_pending(connection: Any, webhook_id: UUID) -> None:
    """For a webhook that is switched off: what waits for it is no longer sent."""
    await queries.give_up_pending(connection, webhook_id=webhook_id, error="The webhook was switched off.")


async def forget_old_secrets(database: Database) -> None:
    """Those that no longer sign."""
    async with database.connection() as connection:
        await queries.forget_old_secrets(connection)


async def webhook_ids(database: Database) -> list[UUID]:
    async with database.connection() as connection:
        return [row["id"] async for row in queries.webhook_ids(connection)]


async def tidy_deliveries(
    database: Database, webhook_id: UUID, *, epoch: int, pending: int, ended: int, days: int, most: int
) -> int:
    """Keep at most so many that wait and so many that have ended, those for so many days; how many waiting ones were dropped.

    `most` bounds what one call does.
    """
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return 0
        error = f"Dropped: more than {pending:,} deliveries waited, and this was the oldest."
        dropped = await queries.drop_overflow(connection, webhook_id=webhook_id, keep=pending, most=most, error=error)
        await queries.prune_deliveries(connection, webhook_id=webhook_id, keep=ended, days=days, most=most)
    return int(dropped)
