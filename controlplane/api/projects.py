"""Projects: an organization's, or the project token's own."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, patch, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import UNSET

from controlplane.api.access import actor_of, answer, principal_of, read_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.tenant_fields import check_slug, check_templates, given_in, named_organization, to_project_view
from controlplane.flows import manage_projects as flow
from controlplane.flows.tenant_access import reach_of
from controlplane.wire.fleet_api import Slug
from controlplane.wire.tenants_api import ProjectBody, ProjectList, ProjectListQuery, ProjectPatch, ProjectQuery, ProjectView

_SCOPE = "projects:manage"
_TAG = "tenants"
_WHAT = "project"


@get(
    "/api/v1/projects",
    guards=[require_scope],
    opt=described(
        "list_projects",
        tag=_TAG,
        summary="The projects that the token reaches, by organization and slug",
        scope=_SCOPE,
        query=ProjectListQuery,
        answer=ProjectList,
        problems=("fields_invalid",),
    ),
)
async def list_projects(request: Request[Any, Any, Any]) -> Response[bytes]:
    query = read_query(request, ProjectListQuery)
    found = await flow.list_projects(
        services_of(request).database,
        reach_of(principal_of(request)),
        organization=query.organization,
        after=decode_cursor(query.cursor, tuple[Slug, Slug]),
        rows=query.limit + 1,
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda each: (each.organization_slug, each.slug))
    return answer(ProjectList(items=[to_project_view(each) for each in page], next_cursor=next_cursor))


@post(
    "/api/v1/projects",
    guards=[require_scope],
    opt=described(
        "create_project",
        tag=_TAG,
        summary="Make a project",
        scope=_SCOPE,
        body=ProjectBody,
        answer=ProjectView,
        status=201,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found", "conflict"),
    ),
)
async def create_project(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = await read_json(request, ProjectBody)
    services, principal = services_of(request), principal_of(request)
    settings = given_in(body, but=("slug", "organization"))
    check_templates(settings)
    made = await flow.create_project(
        services.database,
        actor_of(request),
        reach_of(principal),
        organization=named_organization(principal, None if body.organization is UNSET else body.organization),
        slug=body.slug,
        settings=settings,
    )
    await services.directory.refresh()
    return answer(to_project_view(made), status=201)


@get(
    "/api/v1/projects/{slug:str}",
    guards=[require_scope],
    opt=described(
        "show_project",
        tag=_TAG,
        summary="One project",
        scope=_SCOPE,
        query=ProjectQuery,
        answer=ProjectView,
        problems=("fields_invalid", "not_found"),
    ),
)
async def show_project(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    principal = principal_of(request)
    project = await flow.show_project(
        services_of(request).database, reach_of(principal), check_slug(slug, _WHAT), organization=_organization(request)
    )
    return answer(to_project_view(project))


@patch(
    "/api/v1/projects/{slug:str}",
    guards=[require_scope],
    opt=described(
        "patch_project",
        tag=_TAG,
        summary="Change a project's settings",
        scope=_SCOPE,
        query=ProjectQuery,
        body=ProjectPatch,
        answer=ProjectView,
        problems=("body_malformed", "body_too_large", "fields_invalid", "not_found"),
    ),
)
async def patch_project(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    """In effect on this replica when the answer is sent, on the others within a second."""
    check_slug(slug, _WHAT)
    changes = given_in(await read_json(request, ProjectPatch))
    check_templates(changes)
    services = services_of(request)
    project = await flow.patch_project(
        services.database,
        actor_of(request),
        reach_of(principal_of(request)),
        slug,
        organization=_organization(request),
        changes=changes,
    )
    await services.directory.refresh()
    return answer(to_project_view(project))


@delete(
    "/api/v1/projects/{slug:str}",
    guards=[require_scope],
    status_code=204,
    opt=described(
        "delete_project",
        tag=_TAG,
        summary="Delete a project with its tokens",
        scope=_SCOPE,
        query=ProjectQuery,
        status=204,
        problems=("fields_invalid", "not_found"),
    ),
)
async def delete_project(request: Request[Any, Any, Any], slug: FromPath[str]) -> None:
    services = services_of(request)
    await flow.delete_project(
        services.database,
        actor_of(request),
        reach_of(principal_of(request)),
        check_slug(slug, _WHAT),
        organization=_organization(request),
    )
    await services.directory.refresh()


def _organization(request: Request[Any, Any, Any]) -> str | None:
    return named_organization(principal_of(request), read_query(request, ProjectQuery).organization)


ROUTES: list[ControllerRouterHandler] = [list_projects, create_project, show_project, patch_project, delete_project]
