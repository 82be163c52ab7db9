"""Organizations, projects and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A live token as it is stored: never the token itself."""

    token_id: str
    kind: str
    sha256: bytes
    scopes: frozenset[str]
    expires_at: datetime | None
    organization_id: UUID | None
    project_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    project_id: UUID
    organization_id: UUID
    organization_slug: str
    slug: str
    max_ttl_seconds: int
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    token_id: str
    kind: str
    sha256: bytes
    name: str
    scopes: Sequence[str]
    organization_id: UUID | None = None
    project_id: UUID | None = None
    expires_at: datetime | None = None


def _token(row: Any) -> Token:
    return Token(
        token_id=row["id"],
        kind=row["kind"],
        sha256=row["sha256"],
        scopes=frozenset(row["scopes"]),
        expires_at=row["expires_at"],
        organization_id=row["organization_id"],
        project_id=row["project_id"],
    )


async def token_by_id(database: Database, token_id: str) -> Token | None:
    async with database.connection() as connection:
        row = await queries.token_by_id(connection, id=token_id)
    return None if row is None else _token(row)


async def tokens_by_ids(database: Database, token_ids: Sequence[str]) -> dict[str, Token]:
    """Those of the tokens that still live."""
    async with database.connection() as connection:
        rows = [row async for row in queries.tokens_by_ids(connection, ids=list(token_ids))]
    return {row["id"]: _token(row) for row in rows}


async def all_projects(database: Database) -> list[Project]:
    async with database.connection() as connection:
        rows = [row async for row in queries.projects_all(connection)]
    return [
        Project(
            project_id=row["id"],
            organization_id=row["organization_id"],
            organization_slug=row["organization_slug"],
            slug=row["slug"],
            max_ttl_seconds=row["max_ttl_seconds"],
            is_default=row["is_default"],
        )
        for row in rows
    ]


async def ensure_project(
    database: Database, *, organization: str, project: str, organization_id: UUID, project_id: UUID
) -> tuple[UUID, UUID]:
    """(organization id, project id) of that name, made with the given ids where they are missing."""
    async with database.transaction() as connection:
        row = await queries.organization_by_slug(connection, slug=organization)
        if row is None:
            await queries.insert_organization(connection, id=organization_id, slug=organization, name=organization)
        else:
            organization_id = row["id"]
        row = await queries.project_by_slug(connection, organization_id=organization_id, slug=project)
        if row is None:
            await queries.insert_project(connection, id=project_id, organization_id=organization_id, slug=project, name=project)
        else:
            project_id = row["id"]
    return organization_id, project_id


async def insert_tokens(database: Database, tokens: Sequence[NewToken]) -> None:
    async with database.transaction() as connection:
        for token in tokens:
            await queries.insert_token(
                connection,
                id=token.token_id,
                kind=token.kind,
                organization_id=token.organization_id,
                project_id=token.project_id,
                sha256=token.sha256,
                name=token.name,
                scopes=list(token.scopes),
                expires_at=token.expires_at,
            )
