"""GET /allocations: one row per TURN allocation."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from controlplane.api.access import answer, project_of, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import page_of
from controlplane.api.record_ranges import cursor_at_id, is_elsewhere, records_range
from controlplane.api.record_views import to_allocation
from controlplane.postgres_store.records import allocations_page
from controlplane.wire.records_api import AllocationList, AllocationQuery


@get(
    "/api/v1/allocations",
    guards=[require_scope],
    opt=described(
        "list_allocations",
        tag="records",
        summary="TURN allocations, the newest first",
        scope="credentials:read",
        in_project=True,
        query=AllocationQuery,
        answer=AllocationList,
        problems=("fields_invalid",),
    ),
)
async def list_allocations(request: Request[Any, Any, Any]) -> Response[bytes]:
    services, project = services_of(request), project_of(request)
    query = read_query(request, AllocationQuery)
    times, before = records_range(query, services.settings), cursor_at_id(query.cursor)
    if is_elsewhere(services, query.node, query.region):
        return answer(AllocationList(items=[], next_cursor=None))
    found = await allocations_page(
        services.records,
        project.project_id,
        times,
        limit=query.limit + 1,
        before=before,
        room=query.room,
        client=query.client,
        region=query.region,
        node_id=query.node,
        credential_id=query.credential,
        live=None if query.state is None else query.state == "live",
    )
    page, next_cursor = page_of(
        found.records, limit=query.limit, key=lambda record: (record.started_at, record.id), resume=found.resume
    )
    return answer(AllocationList(items=[to_allocation(record) for record in page], next_cursor=next_cursor))
