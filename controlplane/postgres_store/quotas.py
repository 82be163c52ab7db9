"""What projects use of their quotas, and which of them are at one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controlplane.fleet.allocation import MAX_AGE
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.outbox import tell
from controlplane.postgres_store.revocation import Key, deny


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """A project with its quotas (None: without that one) and its live allocations."""

    project_id: UUID
    max_allocations: int | None
    max_bits_per_second: int | None
    was_reached: bool
    """The crossing was told, and it did not fall well below since."""
    allocations: int
    undenied: int
    """Those of them that no denial is ending."""
    bits_per_second: int


async def quota_uses(database: Database, *, down_nodes: Sequence[UUID]) -> list[QuotaUse]:
    """Every project that has a quota or was at one. What lives on `down_nodes` does not count."""
    async with database.connection() as connection:
        return [
            QuotaUse(
                project_id=row["id"],
                max_allocations=row["max_allocations"],
                max_bits_per_second=row["max_bits_per_second"],
                was_reached=row["was_reached"],
                allocations=row["allocations"],
                undenied=row["undenied"],
                bits_per_second=row["bits_per_second"],
            )
            async for row in queries.quota_uses(connection, down_nodes=list(down_nodes), days=MAX_AGE.days)
        ]


async def tell_reached(database: Database, use: QuotaUse, *, happened_at: datetime) -> None:
    """Tell the webhooks, once until `forget_reached`, whoever leads."""
    async with database.transaction() as connection:
        if await queries.insert_quota_reached(connection, project_id=use.project_id) is None:
            return
        data = {
            "allocations": use.allocations,
            "max_allocations": use.max_allocations,
            "bits_per_second": use.bits_per_second,
            "max_bits_per_second": use.max_bits_per_second,
        }
        await tell(connection, "quota.reached", data, happened_at=happened_at, project_id=use.project_id)


async def forget_reached(database: Database, project_ids: Sequence[UUID]) -> None:
    """The next crossing is told again."""
    async with database.connection() as connection:
        await queries.delete_quotas_reached(connection, project_ids=list(project_ids))


async def end_newest(database: Database, project_id: UUID, *, excess: int, down_nodes: Sequence[UUID]) -> int:
    """Deny the credentials of a project's `excess` newest live allocations; how many were denied."""
    async with database.transaction() as connection:
        rows = queries.newest_credentials_in_use(
            connection, project_id=project_id, excess=excess, down_nodes=list(down_nodes), days=MAX_AGE.days
        )
        keys = [Key(row["issued_at"], row["id"]) async for row in rows]
        return await deny(connection, keys, reason="quota")
