"""GET /usage: what a project used, per hour or day, as JSON pages or as one CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.response import Stream

from controlplane.api.access import answer, project_of, read_query, require_scope, services_of
from controlplane.api.csv_rows import csv_stream
from controlplane.api.describe import described
from controlplane.api.paging import page_of
from controlplane.api.problems import ProblemError
from controlplane.api.record_ranges import cursor_at_key, usage_range
from controlplane.api.record_views import to_usage
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.records import TimeRange, UsageRecord, usage_page
from controlplane.postgres_store.tenants import Project
from controlplane.wire.problem import FieldError
from controlplane.wire.records_api import Dimension, UsageList, UsageQuery, UsageRow

_JSON, _CSV = "application/json", "text/csv"
_CSV_PAGE = 2000


@get(
    "/api/v1/usage",
    guards=[require_scope],
    opt=described(
        "show_usage",
        tag="records",
        summary="What the project used, per hour or day",
        scope="usage:read",
        in_project=True,
        query=UsageQuery,
        answer=UsageList,
        problems=("fields_invalid",),
        media_types=(_JSON, _CSV),
    ),
)
async def show_usage(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
    """As CSV it is the whole range, whatever `limit` says; a cursor is where it begins."""
    services, project = services_of(request), project_of(request)
    query = read_query(request, UsageQuery)
    search = _Search(services.records, project, query, times=usage_range(query, services.settings))
    after = cursor_at_key(query.cursor)
    if _wants_csv(request):
        return Stream(
            csv_stream(UsageRow.__struct_fields__, search.csv_pages(await search.page(_CSV_PAGE, after))),
            media_type=f"{_CSV}; charset=utf-8; header=present",
            headers={"cache-control": "no-store", "content-disposition": f'attachment; filename="usage-{project.slug}.csv"'},
        )
    records, next_cursor = page_of(
        await search.page(query.limit + 1, after), limit=query.limit, key=lambda record: (record.at, record.key)
    )
    return answer(UsageList(items=[search.view(record) for record in records], next_cursor=next_cursor))


def _wants_csv(request: Request[Any, Any, Any]) -> bool:
    try:
        return request.accept.best_match([_JSON, _CSV], default=_JSON) == _CSV
    except OverflowError:  # a quality that is beyond every number
        return False


class _Search:
    """One checked question about usage."""

    def __init__(self, database: Database, project: Project, query: UsageQuery, *, times: TimeRange) -> None:
        self._database = database
        self._project = project
        self._bucket = query.bucket
        self._times = times
        self._group_by, self._key = _grouping(query)

    async def page(self, limit: int, after: tuple[Any, str] | None) -> list[UsageRecord]:
        return await usage_page(
            self._database,
            self._project.project_id,
            self._times,
            bucket=self._bucket,
            dimension=self._group_by,
            key=self._key,
            limit=limit,
            after=after,
        )

    def view(self, record: UsageRecord) -> UsageRow:
        return to_usage(record, bucket=self._bucket, group_by=self._group_by, project_slug=self._project.slug)

    async def csv_pages(self, records: list[UsageRecord]) -> AsyncIterator[list[tuple[Any, ...]]]:
        """From the first page on, which was asked for before the answer began: then a fault of the database still is one."""
        while records:
            yield [msgspec.structs.astuple(self.view(record)) for record in records]
            if len(records) < _CSV_PAGE:
                return
            records = await self.page(_CSV_PAGE, (records[-1].at, records[-1].key))


def _grouping(query: UsageQuery) -> tuple[Dimension, str | None]:
    """What to group by, and the one key that is asked for, if it is one. Raises ProblemError fields_invalid.

    Usage is summed up per dimension, so that a room's usage in one region, say, is not known.
    """
    given: dict[Dimension, str] = {}
    if query.room is not None:
        given["room"] = query.room
    if query.client is not None:
        given["client"] = query.client
    if query.region is not None:
        given["region"] = query.region
    if query.node is not None:
        given["node"] = str(query.node)
    if not given:
        return query.group_by or "project", None
    dimension, key = next(iter(given.items()))
    if len(given) > 1 or query.group_by not in {None, dimension}:
        others = sorted(set(given) - {query.group_by})
        message = f"usage is kept per room, client, region or node: ask with one of them, and group_by={dimension}"
        raise ProblemError(
            "fields_invalid", f"{others[0]}: {message}.", errors=[FieldError(field=other, message=message) for other in others]
        )
    return dimension, key
