"""Organizations: for operators."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from controlplane.api.access import actor_of, answer, read_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.tenant_fields import check_slug, to_organization_view
from controlplane.flows import manage_organizations as flow
from controlplane.wire.fleet_api import Slug
from controlplane.wire.tenants_api import (
    OrganizationBody,
    OrganizationList,
    OrganizationPatch,
    OrganizationView,
    PageQuery,
)

_SCOPE = "tenants:manage"
_TAG = "tenants"
_WHAT = "organization"


@get(
    "/api/v1/organizations",
    guards=[require_scope],
    opt=described(
        "list_organizations",
        tag=_TAG,
        summary="All organizations, by slug",
        scope=_SCOPE,
        query=PageQuery,
        answer=OrganizationList,
        problems=("fields_invalid",),
    ),
)
async def list_organizations(request: Request[Any, Any, Any]) -> Response[bytes]:
    query = read_query(request, PageQuery)
    after = decode_cursor(query.cursor, tuple[Slug])
    found = await flow.list_organizations(
        services_of(request).database, after_slug=None if after is None else after[0], rows=query.limit + 1
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda each: (each.slug,))
    return answer(OrganizationList(items=[to_organization_view(each) for each in page], next_cursor=next_cursor))


@post(
    "/api/v1/organizations",
    guards=[require_scope],
    opt=described(
        "create_organization",
        tag=_TAG,
        summary="Make an organization",
        scope=_SCOPE,
        body=OrganizationBody,
        answer=OrganizationView,
        status=201,
        problems=("body_malformed", "body_too_large", "fields_invalid", "conflict"),
    ),
)
async def create_organization(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = await read_json(request, OrganizationBody)
    services = services_of(request)
    made = await flow.create_organization(services.database, actor_of(request), slug=body.slug, name=body.name)
    await services.directory.refresh()
    return answer(to_organization_view(made), status=201)


@get(
    "/api/v1/organizations/{slug:str}",
    guards=[require_scope],
    opt=described(
        "show_organization",
        tag=_TAG,
        summary="One organization",
        scope=_SCOPE,
        answer=OrganizationView,
        problems=("not_found",),
    ),
)
async def show_organization(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    return answer(to_organization_view(await flow.show_organization(services_of(request).database, check_slug(slug, _WHAT))))


@patch(
    "/api/v1/organizations/{slug:str}",
    guards=[require_scope],
    opt=described(
        "patch_organization",
        tag=_TAG,
        summary="Change an organization's name",
        scope=_SCOPE,
        body=OrganizationPatch,
        answer=OrganizationView,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found"),
    ),
)
async def patch_organization(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    check_slug(slug, _WHAT)
    body = await read_json(request, OrganizationPatch)
    services = services_of(request)
    if isinstance(body.name, str):
        organization = await flow.rename_organization(services.database, actor_of(request), slug, body.name)
        await services.directory.refresh()
    else:
        organization = await flow.show_organization(services.database, slug)
    return answer(to_organization_view(organization))


@delete(
    "/api/v1/organizations/{slug:str}",
    guards=[require_scope],
    status_code=204,
    opt=described(
        "delete_organization",
        tag=_TAG,
        summary="Delete an organization with its projects and tokens",
        scope=_SCOPE,
        status=204,
        problems=("not_found",),
    ),
)
async def delete_organization(request: Request[Any, Any, Any], slug: FromPath[str]) -> None:
    services = services_of(request)
    await flow.delete_organization(services.database, actor_of(request), check_slug(slug, _WHAT))
    await services.directory.refresh()


ROUTES: list[ControllerRouterHandler] = [
    list_organizations,
    create_organization,
    show_organization,
    patch_organization,
    delete_organization,
]
