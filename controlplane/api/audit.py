"""GET /fleet/audit: who changed what."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.types import ControllerRouterHandler

from controlplane.api.access import answer, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.tenant_fields import in_utc
from controlplane.postgres_store.audit import AuditEntry, audit_where
from controlplane.wire.tenants_api import AuditId, AuditList, AuditQuery, AuditView


@get(
    "/api/v1/fleet/audit",
    guards=[require_scope],
    opt=described(
        "list_audit",
        tag="fleet",
        summary="Who changed what, from where, before and after; the newest first",
        scope="fleet:read",
        query=AuditQuery,
        answer=AuditList,
        problems=("fields_invalid",),
    ),
)
async def list_audit(request: Request[Any, Any, Any]) -> Response[bytes]:
    query = read_query(request, AuditQuery)
    after = decode_cursor(query.cursor, tuple[AuditId])
    found = await audit_where(
        services_of(request).database,
        organization_slug=query.organization,
        actor_token_id=query.actor,
        action=query.action,
        since=None if query.since is None else in_utc("from", query.since),
        until=None if query.until is None else in_utc("to", query.until),
        before_id=None if after is None else after[0],
        rows=query.limit + 1,
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda each: (each.id,))
    return answer(AuditList(items=[_to_view(each) for each in page], next_cursor=next_cursor))


def _to_view(entry: AuditEntry) -> AuditView:
    return AuditView(
        id=entry.id,
        at=entry.at,
        actor=entry.actor_token_id,
        actor_kind=entry.actor_kind,
        address=entry.address,
        request_id=entry.request_id,
        organization=entry.organization_slug,
        project=entry.project_slug,
        action=entry.action,
        object=entry.object,
        before=entry.before,
        after=entry.after,
    )


ROUTES: list[ControllerRouterHandler] = [list_audit]
