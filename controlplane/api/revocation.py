"""Ending credentials, and the calls that are made with them."""

from __future__ import annotations

from typing import Any

from litestar import Request, delete, post
from litestar.params import FromPath

from controlplane.api.access import actor_of, project_of, read_json, require_scope, services_of
from controlplane.api.credential_records import uuid_or_none
from controlplane.api.describe import described
from controlplane.api.problems import ProblemError
from controlplane.wire.problem import FieldError
from controlplane.wire.revocation_api import RevokeBody

_SCOPE = "credentials:revoke"


@delete(
    "/api/v1/credentials/{credential_id:str}",
    guards=[require_scope],
    status_code=204,
    opt=described(
        "revoke_credential",
        tag="credentials",
        summary="End a credential at every relay, with the allocations that were made with it",
        scope=_SCOPE,
        in_project=True,
        status=204,
        problems=("not_found",),
    ),
)
async def revoke_credential(request: Request[Any, Any, Any], credential_id: FromPath[str]) -> None:
    """An id whose record has not arrived yet is waited for, at most a second, and denied even when it comes later."""
    project, actor = project_of(request), actor_of(request)
    identity = uuid_or_none(credential_id)
    if identity is None or not await services_of(request).revoker.revoke_ids(project, actor, [identity]):
        raise ProblemError("not_found", "There is no credential of that id in this project.")


@post(
    "/api/v1/credentials/revoke",
    guards=[require_scope],
    status_code=204,
    opt=described(
        "revoke_credentials",
        tag="credentials",
        summary="End all credentials of a room, of a client, or a list of them",
        scope=_SCOPE,
        in_project=True,
        body=RevokeBody,
        status=204,
        problems=("fields_invalid",),
    ),
)
async def revoke_credentials(request: Request[Any, Any, Any]) -> None:
    project, actor = project_of(request), actor_of(request)
    body = await read_json(request, RevokeBody)
    revoker = services_of(request).revoker
    match body:
        case RevokeBody(room=str() as room, client=None, ids=None):
            await revoker.revoke_named(project, actor, "room", room)
        case RevokeBody(room=None, client=str() as client, ids=None):
            await revoker.revoke_named(project, actor, "client", client)
        case RevokeBody(room=None, client=None, ids=list() as ids):
            await revoker.revoke_ids(project, actor, ids)
        case _:
            message = "send exactly one of room, client and ids"
            raise ProblemError(
                "fields_invalid",
                f"What shall be revoked? {message.capitalize()}.",
                errors=[FieldError(field=field, message=message) for field in ("room", "client", "ids")],
            )
