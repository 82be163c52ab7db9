"""Organizations: make, rename, delete. For operators, who reach all of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from uuid_utils.compat import uuid7

from controlplane.flows.revoke import revoke_project
from controlplane.flows.tenant_access import CollisionError, UnknownObjectError, difference
from controlplane.postgres_store import organizations as store
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.organizations import Organization
from controlplane.postgres_store.tenants import projects_where, tenant_change


async def list_organizations(database: Database, *, after_slug: str | None, rows: int) -> list[Organization]:
    async with database.connection() as connection:
        return await store.organizations_where(connection, after_slug=after_slug, rows=rows)


async def show_organization(database: Database, slug: str) -> Organization:
    """Raises UnknownObjectError."""
    async with database.connection() as connection:
        return await named_organization(connection, slug)


async def create_organization(database: Database, actor: Actor, *, slug: str, name: str) -> Organization:
    """Raises CollisionError where the slug is taken."""
    async with tenant_change(database) as connection:
        if await store.organizations_where(connection, slug=slug):
            raise CollisionError(f"There is already an organization {slug}.")
        await store.insert_organization(connection, organization_id=uuid7(), slug=slug, name=name)
        made = await named_organization(connection, slug)
        await write_audit(connection, actor, "organization.create", slug, after=asdict(made), organization_id=made.organization_id)
    return made


async def rename_organization(database: Database, actor: Actor, slug: str, name: str) -> Organization:
    """Raises UnknownObjectError."""
    async with tenant_change(database) as connection:
        before = await named_organization(connection, slug)
        after = replace(before, name=name)
        if after != before:
            await store.rename_organization(connection, before.organization_id, name)
            was, became = difference(asdict(before), asdict(after))
            await write_audit(
                connection, actor, "organization.patch", slug, before=was, after=became, organization_id=before.organization_id
            )
    return after


async def delete_organization(database: Database, actor: Actor, slug: str) -> None:
    """With its projects, all their tokens, and what was issued with them. Raises UnknownObjectError."""
    async with tenant_change(database) as connection:
        gone = await named_organization(connection, slug)
        projects = await projects_where(connection, organization_id=gone.organization_id)
        await store.delete_organization(connection, gone.organization_id)
        await write_audit(connection, actor, "organization.delete", slug, before=asdict(gone), organization_id=gone.organization_id)
        for project in projects:
            await revoke_project(connection, project.project_id, actor)


async def named_organization(connection: Any, slug: str) -> Organization:
    """Raises UnknownObjectError."""
    found = await store.organizations_where(connection, slug=slug)
    if not found:
        raise UnknownObjectError(f"There is no organization {slug}.")
    return found[0]
