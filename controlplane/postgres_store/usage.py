"""Allocations, and what is summed up from them. Every function runs in the transaction it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from controlplane.fleet.allocation import Allocation, issue_window
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.errors import DatabaseUnavailableError

_TRIES = 3
_COUNTED_UP_TO = 100_000
_COLLISIONS = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_encoder = msgspec.json.Encoder()
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRecord:
    """What usage needs of a credential: whose it is, where it is good, and what its project wants."""

    credential_id: UUID
    project_id: UUID
    room: str | None
    initiator_client: str | None
    receiver_client: str | None
    node_ids: frozenset[str]
    client_address_policy: str
    end_at_expiry: bool
    max_allocations: int | None
    max_bits_per_second: int | None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """Of a pending allocation: whose it is, or when to look again."""

    started_at: datetime
    id: UUID
    matched: str
    """pending, matched or foreign."""
    match_at: datetime
    project_id: UUID | None = None
    room: str | None = None
    initiator_client: str | None = None
    receiver_client: str | None = None


async def in_transaction(database: Database, work: Callable[[Any], Awaitable[_Result]]) -> _Result:
    """`work` in a transaction, anew when PostgreSQL ended it in favour of another. Raises DatabaseUnavailableError."""
    for _ in range(_TRIES - 1):
        try:
            async with database.transaction() as connection:
                return await work(connection)
        except DatabaseUnavailableError as error:
            if not isinstance(error.__cause__, _COLLISIONS):
                raise
    async with database.transaction() as connection:
        return await work(connection)


async def find_credentials(connection: Any, credential_ids: Collection[UUID]) -> dict[UUID, CredentialRecord]:
    """The records that are there already."""
    windows = {each: window for each in credential_ids if (window := issue_window(each)) is not None}
    if not windows:
        return {}
    rows = queries.credentials_of_usage(
        connection,
        ids=list(windows),
        earliest=[earliest for earliest, _ in windows.values()],
        latest=[latest for _, latest in windows.values()],
    )
    return {
        row["id"]: CredentialRecord(
            credential_id=row["id"],
            project_id=row["project_id"],
            room=row["room"],
            initiator_client=row["initiator_client"],
            receiver_client=row["receiver_client"],
            node_ids=frozenset(str(node_id) for node_id in row["node_ids"]),
            client_address_policy=row["client_address_policy"],
            end_at_expiry=row["end_at_expiry"],
            max_allocations=row["credential_max_allocations"],
            max_bits_per_second=row["credential_max_bits_per_second"],
        )
        async for row in rows
    }


class StoredAllocation(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it is written: one of every id. Without a project it waits for its credential's record."""

    id: UUID
    told: Allocation
    client_address: str | None
    """As much of it as the project wants; None while the project is not known."""
    credential: CredentialRecord | None


async def upsert_allocations(connection: Any, rows: Sequence[StoredAllocation], *, node_id: str, region: str) -> int:
    """Store what is news; a revision that is there already, or was overtaken, changes nothing. Returns how many were news."""
    batch = _encoder.encode([_row(each) for each in rows]).decode()
    return int(await queries.upsert_allocations(connection, batch=batch, node_id=UUID(node_id), region=region))


def _row(each: StoredAllocation) -> dict[str, Any]:
    told, credential = each.told, each.credential
    row: dict[str, Any] = {field: getattr(told, field) for field in Allocation.__dataclass_fields__}
    row |= {"id": each.id, "client_address": each.client_address}
    if credential is not None:
        row |= {
            "project_id": credential.project_id,
            "room": credential.room,
            "initiator_client": credential.initiator_client,
            "receiver_client": credential.receiver_client,
        }
    return row


async def is_newest_term(connection: Any, epoch: int) -> bool:
    """False: another leads by now. While this transaction lasts, nobody begins a new term."""
    return bool(await queries.hold_epoch(connection, epoch=epoch))


async def find_rows_by_key(connection: Any) -> None:
    """Before `settle` and `count_allocations`: keeps PostgreSQL from reading whole partitions for some rows."""
    await queries.find_rows_by_key(connection)


async def due_pending_allocations(connection: Any, *, limit: int) -> list[Any]:
    return [row async for row in queries.due_pending_allocations(connection, limit=limit)]


async def settle(connection: Any, settled: Sequence[Settled]) -> None:
    await queries.settle_allocations(connection, batch=_encoder.encode(settled).decode())


async def count_allocations(connection: Any, *, limit: int) -> tuple[int, list[Any]]:
    """Count what is not counted yet of at most `limit` allocations. Returns how many, and those that began or ended with it."""
    rows = [row async for row in queries.count_allocations(connection, limit=limit)]
    return rows[0]["picked"], [row for row in rows if row["id"] is not None]


async def fold_deltas(connection: Any, *, limit: int) -> int:
    """Add at most `limit` deltas to the sums. Returns how many there were."""
    return int(await queries.fold_deltas(connection, limit=limit))


async def projects_that_listen(connection: Any, project_ids: Collection[UUID]) -> set[UUID]:
    """Those with a webhook that wants to hear of allocations."""
    return {row["project_id"] async for row in queries.projects_that_listen(connection, project_ids=list(project_ids))}


async def waiting_allocations(database: Database) -> dict[str, int]:
    """How many wait for a record (`pending`) and for being counted (`uncounted`), each up to a bound."""
    async with database.connection() as connection:
        return dict(await queries.waiting_allocations(connection, limit=_COUNTED_UP_TO))
