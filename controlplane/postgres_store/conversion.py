"""What issued credentials were used for, as far as records and usage tell."""

from __future__ import annotations

from datetime import datetime

from controlplane.fleet.conversion import FASTEST_BITS_PER_SECOND, RELAYED_BYTES, RELAYING_BITS_PER_SECOND, Counts, Rates
from controlplane.postgres_store.database import Database, queries


async def conversion_counts(database: Database, *, since: datetime, until: datetime) -> dict[str, Counts]:
    """Of the credentials that were issued in that time, by project id. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        return {
            str(row["project_id"]): Counts(
                issued=row["issued"], relayed=row["relayed"], used=row["used"], allocations=row["allocations"]
            )
            async for row in queries.conversion_counts(connection, since=since, until=until, relayed_bytes=RELAYED_BYTES)
        }


async def relaying_rates(database: Database) -> Rates:
    """Of the sessions that relay now. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        row = await queries.relaying_rates(connection, slowest=int(RELAYING_BITS_PER_SECOND), fastest=int(FASTEST_BITS_PER_SECOND))
        return Rates(bits_per_second=row["bits_per_second"], sessions=row["sessions"])
