"""GET /credentials: who got what, when, where, and why that node."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.params import FromPath

from controlplane.api.access import answer, project_of, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import page_of
from controlplane.api.problems import ProblemError
from controlplane.api.record_ranges import cursor_at_id, is_elsewhere, records_range
from controlplane.api.record_views import to_credential
from controlplane.postgres_store.records import credential_by_id, credentials_page
from controlplane.wire.records_api import CredentialList, CredentialQuery, CredentialView


@get(
    "/api/v1/credentials",
    guards=[require_scope],
    opt=described(
        "list_credentials",
        tag="records",
        summary="Issued credentials, the newest first",
        scope="credentials:read",
        in_project=True,
        query=CredentialQuery,
        answer=CredentialList,
        problems=("fields_invalid",),
    ),
)
async def list_credentials(request: Request[Any, Any, Any]) -> Response[bytes]:
    services, project = services_of(request), project_of(request)
    query = read_query(request, CredentialQuery)
    times, before = records_range(query, services.settings), cursor_at_id(query.cursor)
    if is_elsewhere(services, query.node, query.region):
        return answer(CredentialList(items=[], next_cursor=None))
    found = await credentials_page(
        services.records,
        project.project_id,
        times,
        limit=query.limit + 1,
        before=before,
        room=query.room,
        client=query.client,
        region=query.region,
        node_id=query.node,
    )
    page, next_cursor = page_of(
        found.records, limit=query.limit, key=lambda record: (record.issued_at, record.id), resume=found.resume
    )
    return answer(CredentialList(items=[to_credential(record) for record in page], next_cursor=next_cursor))


@get(
    "/api/v1/credentials/{credential_id:str}",
    guards=[require_scope],
    opt=described(
        "show_credential",
        tag="records",
        summary="One issued credential",
        scope="credentials:read",
        in_project=True,
        answer=CredentialView,
        problems=("not_found",),
    ),
)
async def show_credential(request: Request[Any, Any, Any], credential_id: FromPath[str]) -> Response[bytes]:
    project = project_of(request)
    identity = uuid_or_none(credential_id)
    record = None if identity is None else await credential_by_id(services_of(request).records, project.project_id, identity)
    if record is None:
        raise ProblemError("not_found", "There is no credential of that id in this project.")
    return answer(to_credential(record))


def uuid_or_none(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
