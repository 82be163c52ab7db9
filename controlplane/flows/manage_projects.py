"""Projects: make, change, delete, within the reach of whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from uuid_utils.compat import uuid7

from controlplane.flows.manage_organizations import named_organization
from controlplane.flows.revoke import revoke_project
from controlplane.flows.tenant_access import CollisionError, NotAllowedError, Reach, UnknownObjectError, difference
from controlplane.postgres_store import organizations as store
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.tenants import Project, projects_where, tenant_change


async def list_projects(
    database: Database, reach: Reach, *, organization: str | None, after: tuple[str, str] | None, rows: int
) -> list[Project]:
    async with database.connection() as connection:
        return await projects_where(
            connection,
            organization_id=reach.organization_id,
            project_id=reach.project_id,
            organization_slug=organization,
            after=after,
            rows=rows,
        )


async def show_project(database: Database, reach: Reach, slug: str, *, organization: str | None) -> Project:
    """Raises UnknownObjectError."""
    async with database.connection() as connection:
        return await named_project(connection, reach, slug, organization=organization)


async def create_project(
    database: Database, actor: Actor, reach: Reach, *, organization: str | None, slug: str, settings: Mapping[str, Any]
) -> Project:
    """`organization` is needed by an operator alone. Raises NotAllowedError, UnknownObjectError or CollisionError."""
    if reach.project_id is not None:
        raise NotAllowedError("A project token cannot make projects: use a token of the organization.")
    async with tenant_change(database) as connection:
        organization_id = reach.organization_id
        if organization is not None:
            named = await named_organization(connection, organization)
            if organization_id not in {None, named.organization_id}:
                raise UnknownObjectError(f"There is no organization {organization}.")
            organization_id = named.organization_id
        if organization_id is None:
            raise UnknownObjectError("Name the organization.")
        if await projects_where(connection, organization_id=organization_id, slug=slug):
            raise CollisionError(f"There is already a project {slug} in the organization.")
        await store.insert_project(
            connection, project_id=uuid7(), organization_id=organization_id, slug=slug, name=settings["name"]
        )
        (fresh,) = await projects_where(connection, organization_id=organization_id, slug=slug)
        made = replace(fresh, **settings)
        await _save(connection, actor, made)
        await write_audit(
            connection,
            actor,
            "project.create",
            slug,
            after=asdict(made),
            organization_id=organization_id,
            project_id=made.project_id,
        )
    return made


async def patch_project(
    database: Database, actor: Actor, reach: Reach, slug: str, *, organization: str | None, changes: Mapping[str, Any]
) -> Project:
    """Raises UnknownObjectError; NotAllowedError where a project token would touch the organization's other projects."""
    if reach.project_id is not None and "is_default" in changes:
        raise NotAllowedError("Which project is the default is the organization's to say: use a token of the organization.")
    async with tenant_change(database) as connection:
        before = await named_project(connection, reach, slug, organization=organization)
        after = replace(before, **changes)
        if after != before:
            await _save(connection, actor, after)
            await _audit_patch(connection, actor, before, after)
    return after


async def delete_project(database: Database, actor: Actor, reach: Reach, slug: str, *, organization: str | None) -> None:
    """With its tokens, and what was issued with them. Raises UnknownObjectError or NotAllowedError."""
    if reach.project_id is not None:
        raise NotAllowedError("A project token cannot delete its project: use a token of the organization.")
    async with tenant_change(database) as connection:
        gone = await named_project(connection, reach, slug, organization=organization)
        await store.delete_project(connection, gone.project_id)
        await write_audit(
            connection,
            actor,
            "project.delete",
            slug,
            before=asdict(gone),
            organization_id=gone.organization_id,
            project_id=gone.project_id,
        )
        await revoke_project(connection, gone.project_id, actor)


async def named_project(connection: Any, reach: Reach, slug: str, *, organization: str | None) -> Project:
    """Raises UnknownObjectError. Slugs are unique in an organization: an operator's reach needs its name."""
    found = await projects_where(
        connection,
        organization_id=reach.organization_id,
        project_id=reach.project_id,
        organization_slug=organization,
        slug=slug,
    )
    if len(found) != 1:
        raise UnknownObjectError(f"There is no project {slug}.")
    return found[0]


async def _save(connection: Any, actor: Actor, project: Project) -> None:
    """An organization has one default project at most: a new one takes the place of the old one."""
    if project.is_default:
        for other in await projects_where(connection, organization_id=project.organization_id):
            if other.is_default and other.project_id != project.project_id:
                await store.save_project(connection, replace(other, is_default=False))
                await _audit_patch(connection, actor, other, replace(other, is_default=False))
    await store.save_project(connection, project)


async def _audit_patch(connection: Any, actor: Actor, before: Project, after: Project) -> None:
    was, became = difference(asdict(before), asdict(after))
    await write_audit(
        connection,
        actor,
        "project.patch",
        before.slug,
        before=was,
        after=became,
        organization_id=before.organization_id,
        project_id=before.project_id,
    )
