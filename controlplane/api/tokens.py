"""API tokens: made, changed, rotated, deleted. The token itself is in the answer that makes it, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import UNSET, structs

from controlplane.api.access import actor_of, answer, principal_of, read_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.tenant_fields import (
    check_expiry,
    check_scopes,
    given_in,
    in_utc,
    named_organization,
    to_token_view,
    wrong_field,
)
from controlplane.flows import manage_tokens as flow
from controlplane.flows.authenticate import Principal
from controlplane.flows.manage_tokens import MadeToken, Wanted
from controlplane.flows.tenant_access import reach_of
from controlplane.wire.tenants_api import (
    Instant,
    NewTokenView,
    RotateBody,
    TokenBody,
    TokenId,
    TokenList,
    TokenListQuery,
    TokenPatch,
    TokenView,
)
from controlplane.wire.token_format import ID_LENGTH

_SCOPE = "tokens:manage"
_TAG = "tenants"


@get(
    "/api/v1/tokens",
    guards=[require_scope],
    opt=described(
        "list_tokens",
        tag=_TAG,
        summary="The tokens that the token reaches, the newest first",
        scope=_SCOPE,
        query=TokenListQuery,
        answer=TokenList,
        problems=("fields_invalid",),
    ),
)
async def list_tokens(request: Request[Any, Any, Any]) -> Response[bytes]:
    query = read_query(request, TokenListQuery)
    after = decode_cursor(query.cursor, tuple[Instant, TokenId])
    found = await flow.list_tokens(
        services_of(request).database,
        reach_of(principal_of(request)),
        organization=query.organization,
        project=query.project,
        kind=query.kind,
        after=None if after is None else (in_utc("cursor", after[0]), after[1]),
        rows=query.limit + 1,
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda each: (each.created_at, each.token_id))
    return answer(TokenList(items=[to_token_view(each) for each in page], next_cursor=next_cursor))


@post(
    "/api/v1/tokens",
    guards=[require_scope],
    opt=described(
        "create_token",
        tag=_TAG,
        summary="Make a token; it is shown in this answer only",
        scope=_SCOPE,
        body=TokenBody,
        answer=NewTokenView,
        status=201,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found", "project_required", "project_unknown"),
    ),
)
async def create_token(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = await read_json(request, TokenBody)
    services, principal = services_of(request), principal_of(request)
    made = await flow.create_token(services.database, actor_of(request), principal, _wanted(body, principal))
    await services.directory.refresh()
    return _answer_made(made)


@get(
    "/api/v1/tokens/{token_id:str}",
    guards=[require_scope],
    opt=described("show_token", tag=_TAG, summary="One token", scope=_SCOPE, answer=TokenView, problems=("not_found",)),
)
async def show_token(request: Request[Any, Any, Any], token_id: FromPath[str]) -> Response[bytes]:
    """By its id, which is not the token itself."""
    record = await flow.show_token(services_of(request).database, reach_of(principal_of(request)), _checked_id(token_id))
    return answer(to_token_view(record))


@patch(
    "/api/v1/tokens/{token_id:str}",
    guards=[require_scope],
    opt=described(
        "patch_token",
        tag=_TAG,
        summary="Change a token's name, scopes or expiry",
        scope=_SCOPE,
        body=TokenPatch,
        answer=TokenView,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found"),
    ),
)
async def patch_token(request: Request[Any, Any, Any], token_id: FromPath[str]) -> Response[bytes]:
    """In effect on this replica when the answer is sent, on the others within a second."""
    _checked_id(token_id)
    body = await read_json(request, TokenPatch)
    services, principal = services_of(request), principal_of(request)
    changes = given_in(body)
    if body.expires_at is not UNSET:
        changes["expires_at"] = check_expiry(body.expires_at)
    if body.scopes is not UNSET:
        before = await flow.show_token(services.database, reach_of(principal), token_id)
        changes["scopes"] = check_scopes(body.scopes, before.kind)
    record = await flow.patch_token(services.database, actor_of(request), principal, token_id, changes)
    await services.directory.refresh()
    return answer(to_token_view(record))


@post(
    "/api/v1/tokens/{token_id:str}/rotate",
    guards=[require_scope],
    opt=described(
        "rotate_token",
        tag=_TAG,
        summary="Make a token's successor; the old one works until the overlap ends",
        scope=_SCOPE,
        body=RotateBody,
        body_required=False,
        answer=NewTokenView,
        status=201,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found", "conflict"),
    ),
)
async def rotate_token(request: Request[Any, Any, Any], token_id: FromPath[str]) -> Response[bytes]:
    _checked_id(token_id)
    body = await read_json(request, RotateBody) if await request.body() else RotateBody()
    services = services_of(request)
    made = await flow.rotate_token(
        services.database,
        actor_of(request),
        principal_of(request),
        token_id,
        overlap_seconds=body.overlap_seconds,
        now=datetime.now(UTC),
    )
    await services.directory.refresh()
    return _answer_made(made)


@delete(
    "/api/v1/tokens/{token_id:str}",
    guards=[require_scope],
    status_code=204,
    opt=described("delete_token", tag=_TAG, summary="Delete a token", scope=_SCOPE, status=204, problems=("not_found",)),
)
async def delete_token(request: Request[Any, Any, Any], token_id: FromPath[str]) -> None:
    """Refused on this replica when the answer is sent, on the others within a second."""
    services = services_of(request)
    await flow.remove_token(services.database, actor_of(request), reach_of(principal_of(request)), _checked_id(token_id))
    await services.directory.refresh()


def _checked_id(token_id: str) -> str:
    """What cannot be an id names nothing; a whole token in the address is not repeated in the answer."""
    if len(token_id) != ID_LENGTH or not (token_id.isascii() and token_id.isalnum()):
        raise ProblemError("not_found", f"There is no token of that id. An id has {ID_LENGTH} characters, after the prefix.")
    return token_id


def _wanted(body: TokenBody, principal: Principal) -> Wanted:
    organization = None if body.organization is UNSET else body.organization
    project = None if body.project is UNSET else body.project
    if body.kind == "operator":
        if organization is not None:
            raise wrong_field("organization", "must be left out: an operator token acts in every organization")
    else:
        organization = named_organization(principal, organization)
    if project is not None and body.kind != "project":
        raise wrong_field("project", "must be left out: only a token of the kind project belongs to one")
    return Wanted(
        kind=body.kind,
        name=body.name,
        scopes=check_scopes(body.scopes, body.kind),
        expires_at=check_expiry(body.expires_at),
        organization=organization,
        project=project,
    )


def _answer_made(made: MadeToken) -> Response[bytes]:
    return answer(NewTokenView(**structs.asdict(to_token_view(made.record)), token=made.token.reveal()), status=201)


ROUTES: list[ControllerRouterHandler] = [list_tokens, create_token, show_token, patch_token, rotate_token, delete_token]
