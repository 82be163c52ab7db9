"""The record of every issue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from controlplane.fleet.issue import Issue
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.revocation import REVOCATION_LOCK, Key, deny

_NEVER_TAKEN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_encoder = msgspec.json.Encoder()


async def insert_credentials(database: Database, issues: Sequence[Issue]) -> list[Issue]:
    """Store a batch, idempotently by (issued_at, id). Returns those that PostgreSQL will never take.

    In the same transaction: what is new is counted for usage, and what was revoked before its record arrived is denied.
    Raises DatabaseUnavailableError, then the whole batch may be sent again.
    """
    async with database.connection() as connection:
        try:
            await _insert(connection, issues)
        except _NEVER_TAKEN:
            pass  # one of them is poison: find it, the others must not wait for it
        else:
            return []
        refused = []
        for issue in issues:
            try:
                await _insert(connection, [issue])
            except _NEVER_TAKEN:
                refused.append(issue)
        return refused


async def _insert(connection: Any, issues: Sequence[Issue]) -> None:
    async with connection.transaction():
        await queries.await_revocations(connection, key=REVOCATION_LOCK)
        # As one JSON text: PostgreSQL takes it apart, for a fraction of the CPU that sixteen arrays cost here.
        batch = _encoder.encode(issues).decode()
        revoked = [Key(row["issued_at"], row["id"]) async for row in queries.insert_credentials(connection, batch=batch)]
        await deny(connection, revoked, reason="revoked")
        await queries.note_expiries(connection, batch=batch)


async def ensure_partitions(database: Database, *, days: int) -> None:
    """Make the daily partitions of the days to come."""
    async with database.connection() as connection:
        await queries.ensure_partitions(connection, days=days)
