"""Credentials, allocations and usage as they are read: newest pages first, from a cursor on.

The statements have filters that may be NULL, and many daily partitions: they are planned anew for their values, which costs
a few milliseconds and saves reading what cannot match. That is set on the connections of this pool alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from controlplane.fleet.allocation import MAX_AGE, issue_window
from controlplane.postgres_store.database import Database, queries

_Record = TypeVar("_Record")
_CONNECTIONS = 4
_NEWEST = timedelta(days=2)
"""Planning costs some tenth of a millisecond per daily partition, which pages that lie within the newest days are spared."""

_LOOKED_AT = 2000
"""With several filters: so many that the first one finds are looked at for a page, however few of them the others let through."""
_LONGEST_TTL = timedelta(days=1)
_CLOCK_SLACK = timedelta(hours=1)
"""How far the clock of a node may be off."""


def records_database(url: str) -> Database:
    """A pool of its own, so that a slow look at old records holds up neither authentication nor anything else."""
    return Database(url, connections=_CONNECTIONS, server_settings={"plan_cache_mode": "force_custom_plan", "jit": "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """from_at ≤ instant < to_at. The narrower, the fewer daily partitions are looked at."""

    from_at: datetime
    to_at: datetime

    def newest_first(self, before_at: datetime | None) -> list[TimeRange]:
        """The range in two pieces, up to a cursor: the newest days, which fill most pages, and all before them."""
        end = self.to_at if before_at is None else min(self.to_at, before_at + timedelta(microseconds=1))
        middle = end - _NEWEST
        if middle <= self.from_at:
            return [TimeRange(from_at=self.from_at, to_at=end)]
        return [TimeRange(from_at=middle, to_at=end), TimeRange(from_at=self.from_at, to_at=middle)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRecord:
    id: UUID
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    token_id: str
    room: str | None
    initiator_client: str | None
    receiver_client: str | None
    client_address: str | None
    region: str
    node_ids: list[UUID]
    selection: str
    node_selection: str
    degraded: bool
    fixed_region: str | None
    preferred_region: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRecord:
    id: UUID
    started_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    credential_id: UUID | None
    room: str | None
    initiator_client: str | None
    receiver_client: str | None
    client_address: str | None
    transport: str | None
    region: str
    node_id: UUID
    bytes_from_client: int
    bytes_to_client: int
    packets_from_client: int
    packets_to_client: int
    bits_per_second: int
    reported_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    at: datetime
    key: str
    credentials: int
    allocations: int
    bytes_from_client: int
    bytes_to_client: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsPage(Generic[_Record]):
    records: list[_Record]
    resume: tuple[datetime, UUID] | None
    """Where to go on when the search ended before the page was full: enough had been looked at. None: it is full, or the last."""


async def credentials_page(
    database: Database,
    project_id: UUID,
    times: TimeRange,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    room: str | None = None,
    client: str | None = None,
    region: str | None = None,
    node_id: UUID | None = None,
) -> RecordsPage[CredentialRecord]:
    """The newest first by (issued_at, id), those after the cursor `before`."""
    filters = {"room": room, "client": client, "node": node_id, "region": region}
    return await _page(
        database,
        queries.credentials_page,
        CredentialRecord,
        times,
        limit=limit,
        before=before,
        chosen=[name for name, value in filters.items() if value is not None],
        project_id=project_id,
        room=room,
        client=client,
        region=region,
        node_id=node_id,
    )


async def _page(
    database: Database,
    query: Callable[..., AsyncIterator[Any]],
    kind: type[_Record],
    times: TimeRange,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None,
    chosen: Sequence[str],
    **values: object,
) -> RecordsPage[_Record]:
    """`chosen`: the filters, of which the first chooses the index."""
    before_at, before_id = before or (None, None)
    scan = limit if len(chosen) <= 1 else max(limit, _LOOKED_AT)
    records: list[_Record] = []
    async with database.connection() as connection:
        for piece in times.newest_first(before_at):
            rows = [
                dict(row)
                async for row in query(
                    connection,
                    by=chosen[0] if chosen else "all",
                    scan=scan,
                    from_at=piece.from_at,
                    to_at=piece.to_at,
                    before_at=before_at,
                    before_id=before_id,
                    limit=limit - len(records),
                    **values,
                )
            ]
            looked = [(row.pop("looked_at"), row.pop("last_at"), row.pop("last_id")) for row in rows]
            records += [kind(**row) for row in rows if row["id"] is not None]
            if len(records) == limit:
                break
            if looked and looked[0][0] == scan:
                return RecordsPage(records=records, resume=looked[0][1:])
    return RecordsPage(records=records, resume=None)


async def credential_by_id(database: Database, project_id: UUID, credential_id: UUID) -> CredentialRecord | None:
    window = issue_window(credential_id)
    if window is None:
        return None
    async with database.connection() as connection:
        row = await queries.credential_by_id(
            connection, project_id=project_id, id=credential_id, from_at=window[0], to_at=window[1]
        )
    return None if row is None else CredentialRecord(**row)


async def allocations_page(
    database: Database,
    project_id: UUID,
    times: TimeRange,
    *,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
    room: str | None = None,
    client: str | None = None,
    region: str | None = None,
    node_id: UUID | None = None,
    credential_id: UUID | None = None,
    live: bool | None = None,
) -> RecordsPage[AllocationRecord]:
    """The newest first by (started_at, id), those after the cursor `before`. `live`: None for both kinds."""
    filters = {"credential": credential_id, "room": room, "client": client, "node": node_id, "live": live, "region": region}
    return await _page(
        database,
        queries.allocations_page,
        AllocationRecord,
        _when_it_can_have_begun(times, credential_id=credential_id, live=live),
        limit=limit,
        before=before,
        chosen=_chosen(filters, live=live),
        project_id=project_id,
        room=room,
        client=client,
        region=region,
        node_id=node_id,
        credential_id=credential_id,
        live=live,
    )


def _chosen(filters: Mapping[str, object], *, live: bool | None) -> list[str]:
    given = [name for name, value in filters.items() if value is not None]
    if live is not False:
        return given
    # Nearly all have ended: that filter chooses no index.
    given.remove("live")
    return [*(given or ["all"]), "ended"]


def _when_it_can_have_begun(times: TimeRange, *, credential_id: UUID | None, live: bool | None) -> TimeRange:
    """The range without the days in which no such allocation can have begun: of one older than MAX_AGE nothing is heard."""
    from_at, to_at = times.from_at, times.to_at
    if live:
        from_at = max(from_at, datetime.now(UTC) - MAX_AGE)
    issued = None if credential_id is None else issue_window(credential_id)
    if issued is not None:
        from_at, to_at = max(from_at, issued[0] - _CLOCK_SLACK), min(to_at, issued[1] + _LONGEST_TTL + _CLOCK_SLACK)
    return TimeRange(from_at=from_at, to_at=to_at)


async def usage_page(
    database: Database,
    project_id: UUID,
    times: TimeRange,
    *,
    bucket: str,
    dimension: str,
    limit: int,
    key: str | None = None,
    after: tuple[datetime, str] | None = None,
) -> list[UsageRecord]:
    """The oldest first by (at, key), those after the cursor."""
    after_at, after_key = after or (None, None)
    async with database.connection() as connection:
        rows = queries.usage_page(
            connection,
            project_id=project_id,
            bucket=bucket,
            dimension=dimension,
            from_at=times.from_at if after_at is None else max(times.from_at, after_at),
            to_at=times.to_at,
            key=key,
            after_at=after_at,
            after_key=after_key,
            limit=limit,
        )
        return [UsageRecord(**row) async for row in rows]
