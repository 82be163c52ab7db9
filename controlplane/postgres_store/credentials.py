"""The record of every issue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from controlplane.fleet.issue import Issue
from controlplane.postgres_store.database import Database, queries


async def insert_credentials(database: Database, records: Sequence[Issue]) -> list[Issue]:
    """Store a batch, idempotently by (issued_at, id). Returns those that PostgreSQL will never take.

    Raises DatabaseUnavailableError, then the whole batch may be sent again.
    """
    async with database.connection() as connection:
        try:
            await queries.insert_credentials(connection, **_columns(records))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
            pass  # one of them is poison: find it, the others must not wait for it
        else:
            return []
        refused = []
        for record in records:
            try:
                await queries.insert_credentials(connection, **_columns([record]))
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError):
                refused.append(record)
        return refused


def _columns(records: Sequence[Issue]) -> dict[str, list[Any]]:
    return {
        "issued_at": [each.issued_at for each in records],
        "id": [each.credential_id for each in records],
        "project_id": [each.project_id for each in records],
        "token_id": [each.token_id for each in records],
        "expires_at": [each.expires_at for each in records],
        "region": [each.region for each in records],
        # unnest() flattens arrays of arrays, so these two travel as text.
        "node_ids": [",".join(each.node_ids) for each in records],
        "secret_versions": [",".join(str(version) for version in each.secret_versions) for each in records],
        "selection": [each.selection for each in records],
        "degraded": [each.degraded for each in records],
        "initiator_client": [each.initiator_client for each in records],
        "receiver_client": [each.receiver_client for each in records],
        "room": [each.room for each in records],
        "client_address": [each.client_address for each in records],
        "fixed_region": [each.fixed_region for each in records],
        "preferred_region": [each.preferred_region for each in records],
    }


async def ensure_partitions(database: Database, *, days: int) -> None:
    """Make the daily partitions of the days to come."""
    async with database.connection() as connection:
        await queries.ensure_credential_partitions(connection, days=days)
