"""What agents found on their hosts: the newest of each node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from controlplane.postgres_store.audit import as_inet
from controlplane.postgres_store.database import Database, queries
from controlplane.wire.found_api import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFindings:
    reported_at: datetime
    source_address: str | None
    found: Found


async def put_findings(database: Database, node_id: str, found: Found, *, source_address: str | None) -> None:
    """In place of those before. Raises ConflictError when there is no such node any more, and DatabaseUnavailableError."""
    async with database.connection() as connection:
        await queries.put_findings(
            connection, node_id=UUID(node_id), source_address=as_inet(source_address), found=msgspec.json.encode(found).decode()
        )


async def findings_of(database: Database, node_id: str) -> KeptFindings | None:
    """None: it has told none. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        row = await queries.findings_of(connection, node_id=UUID(node_id))
    if row is None:
        return None
    found = msgspec.json.decode(row["found"], type=Found)
    return KeptFindings(reported_at=row["reported_at"], source_address=row["source_address"], found=found)
