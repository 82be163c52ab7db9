"""Organizations and projects as they are managed. Everything but the lists runs inside a `tenant_change`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.tenants import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    organization_id: UUID
    slug: str
    name: str
    created_at: datetime
    projects: int
    """How many."""


async def organizations_where(
    connection: Any, *, slug: str | None = None, after_slug: str | None = None, rows: int | None = None
) -> list[Organization]:
    """By slug. A filter that is None is none."""
    found = queries.organizations_where(connection, slug=slug, after_slug=after_slug, rows=rows)
    return [Organization(**dict(row)) async for row in found]


async def insert_organization(connection: Any, *, organization_id: UUID, slug: str, name: str) -> None:
    """Raises ConflictError where the slug is taken."""
    await queries.insert_organization(connection, id=organization_id, slug=slug, name=name)


async def rename_organization(connection: Any, organization_id: UUID, name: str) -> None:
    await queries.rename_organization(connection, organization_id=organization_id, name=name)


async def delete_organization(connection: Any, organization_id: UUID) -> None:
    """With its projects and tokens."""
    await queries.delete_organization(connection, organization_id=organization_id)


async def insert_project(connection: Any, *, project_id: UUID, organization_id: UUID, slug: str, name: str) -> None:
    """With the settings that a project has at first; the organization's first one is its default. Raises ConflictError."""
    await queries.insert_project(connection, id=project_id, organization_id=organization_id, slug=slug, name=name)


async def save_project(connection: Any, project: Project) -> None:
    """All its settings."""
    fields = asdict(project)
    for fixed in ("organization_id", "organization_slug", "slug", "created_at"):
        del fields[fixed]
    await queries.save_project(connection, **fields)


async def delete_project(connection: Any, project_id: UUID) -> None:
    """With its tokens."""
    await queries.delete_project(connection, project_id=project_id)


async def ensure_project(
    database: Database, *, organization: str, project: str, organization_id: UUID, project_id: UUID
) -> tuple[UUID, UUID]:
    """(organization id, project id) of that name, made with the given ids where they are missing."""
    async with database.transaction() as connection:
        row = await queries.organization_by_slug(connection, slug=organization)
        if row is None:
            await insert_organization(connection, organization_id=organization_id, slug=organization, name=organization)
        else:
            organization_id = row["id"]
        row = await queries.project_by_slug(connection, organization_id=organization_id, slug=project)
        if row is None:
            await insert_project(connection, project_id=project_id, organization_id=organization_id, slug=project, name=project)
        else:
            project_id = row["id"]
    return organization_id, project_id
