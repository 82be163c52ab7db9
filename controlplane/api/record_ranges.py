"""What `from`, `to` and cursors mean for lists of records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from controlplane.api.paging import decode_cursor
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.postgres_store.records import TimeRange
from controlplane.settings import Settings
from controlplane.wire.problem import FieldError
from controlplane.wire.records_api import TimeQuery, UsageQuery

_FIRST_YEAR, _LAST_YEAR = 2000, 2199
"""Far from the ends of what Python and PostgreSQL can count in."""
_AHEAD = timedelta(hours=1)
"""How far the clock of another replica, or of a node, may be ahead of ours without hiding its records."""
_CURSOR = {"field": "cursor", "message": "is none that this list gave out"}


class _AtId(msgspec.Struct, frozen=True, array_like=True):
    at: datetime
    id: UUID


class _AtKey(msgspec.Struct, frozen=True, array_like=True):
    at: datetime
    key: Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[A-Za-z0-9_-]*\Z")]


def records_range(query: TimeQuery, settings: Settings) -> TimeRange:
    """Of credentials or allocations; without `from` all that are kept. Raises ProblemError fields_invalid."""
    # A daily partition goes when its last hour is too old.
    return _range(query, kept=timedelta(days=settings.record_retention_days + 1))


def usage_range(query: UsageQuery, settings: Settings) -> TimeRange:
    """Of usage: all hours or days that the range touches, so it begins at the begin of one. Raises ProblemError fields_invalid."""
    days = settings.record_retention_days if query.bucket == "hour" else settings.usage_retention_days
    times = _range(query, kept=timedelta(days=days + 1))
    begin = times.from_at.replace(minute=0, second=0, microsecond=0)
    return TimeRange(from_at=begin if query.bucket == "hour" else begin.replace(hour=0), to_at=times.to_at)


def _range(query: TimeQuery, *, kept: timedelta) -> TimeRange:
    now = datetime.now(UTC)
    from_at = now - kept if query.from_ is None else _utc("from", query.from_)
    to_at = max(from_at, now + _AHEAD) if query.to is None else _utc("to", query.to)
    if from_at > to_at:
        if query.from_ is None:  # all of it is older than what is kept
            return TimeRange(from_at=to_at, to_at=to_at)
        raise _invalid("from", "must not be after `to`")
    return TimeRange(from_at=from_at, to_at=to_at)


def is_elsewhere(services: Services, node: UUID | None, region: str | None) -> bool:
    """Whether the node is of another region than that: then no record fits, and PostgreSQL would look through all of both."""
    known = None if node is None else services.directory.nodes.get(str(node))
    return known is not None and region is not None and known.region != region


def cursor_at_id(cursor: str) -> tuple[datetime, UUID] | None:
    """(instant, id) of a cursor. Raises ProblemError fields_invalid."""
    place = decode_cursor(cursor, _AtId)
    return None if place is None else (_cursor_utc(place.at), place.id)


def cursor_at_key(cursor: str) -> tuple[datetime, str] | None:
    """(instant, key) of a cursor. Raises ProblemError fields_invalid."""
    place = decode_cursor(cursor, _AtKey)
    if place is None:
        return None
    return _cursor_utc(place.at), place.key


def _utc(field: str, at: datetime) -> datetime:
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        raise _invalid(field, f"must be of a year from {_FIRST_YEAR} to {_LAST_YEAR}")
    return at.astimezone(UTC)


def _cursor_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise _invalid(**_CURSOR)
    return _utc("cursor", at)


def _invalid(field: str, message: str) -> ProblemError:
    return ProblemError("fields_invalid", f"{field} {message}.", errors=[FieldError(field=field, message=message)])
