"""The record of every issue."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from controlplane.fleet.issue import Issue
from controlplane.postgres_store.database import Database, queries

_NEVER_TAKEN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_encoder = msgspec.json.Encoder()


async def insert_credentials(database: Database, issues: Sequence[Issue]) -> list[Issue]:
    """Store a batch, idempotently by (issued_at, id). Returns those that PostgreSQL will never take.

    Raises DatabaseUnavailableError, then the whole batch may be sent again.
    """
    async with database.connection() as connection:
        try:
            await queries.insert_credentials(connection, batch=_batch(issues))
        except _NEVER_TAKEN:
            pass  # one of them is poison: find it, the others must not wait for it
        else:
            return []
        refused = []
        for issue in issues:
            try:
                await queries.insert_credentials(connection, batch=_batch([issue]))
            except _NEVER_TAKEN:
                refused.append(issue)
        return refused


def _batch(issues: Sequence[Issue]) -> str:
    """As one JSON text: PostgreSQL takes it apart, for a fraction of the CPU that sixteen arrays cost here."""
    return _encoder.encode(issues).decode()


async def ensure_partitions(database: Database, *, days: int) -> None:
    """Make the daily partitions of the days to come."""
    async with database.connection() as connection:
        await queries.ensure_partitions(connection, days=days)
