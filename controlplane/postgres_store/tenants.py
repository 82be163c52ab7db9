"""Tenants and tokens as every replica keeps them in memory, and the lock that changes of them take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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
    """A project with all its settings. A quota that is None is off."""

    project_id: UUID
    organization_id: UUID
    organization_slug: str
    slug: str
    name: str
    max_ttl_seconds: int
    rate_limit_per_second: int
    room_url_template: str | None
    """Where a person finds the room in the application; {room} stands for its name."""
    client_url_template: str | None
    """The same for {client}."""
    is_default: bool
    end_at_expiry: bool
    """Live allocations end with their credential."""
    client_address_policy: str
    """keep, truncate or drop."""
    max_allocations: int | None
    max_bits_per_second: int | None
    credential_max_allocations: int | None
    credential_max_bits_per_second: int | None
    created_at: datetime


@asynccontextmanager
async def tenant_change(database: Database) -> AsyncIterator[Any]:
    """A connection inside the transaction of a change of tenants. They happen one after another: what one reads stays so."""
    async with database.transaction() as connection:
        await queries.lock_tenants(connection)
        yield connection


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
        return await live_token(connection, token_id)


async def live_token(connection: Any, token_id: str) -> Token | None:
    """The same inside a transaction."""
    row = await queries.token_by_id(connection, id=token_id)
    return None if row is None else _token(row)


async def tokens_by_ids(database: Database, token_ids: Sequence[str]) -> dict[str, Token]:
    """Those of the tokens that still live."""
    async with database.connection() as connection:
        rows = [row async for row in queries.tokens_by_ids(connection, ids=list(token_ids))]
    return {row["id"]: _token(row) for row in rows}


async def all_projects(database: Database) -> list[Project]:
    async with database.connection() as connection:
        return await projects_where(connection)


async def projects_where(
    connection: Any,
    *,
    organization_id: UUID | None = None,
    project_id: UUID | None = None,
    organization_slug: str | None = None,
    slug: str | None = None,
    after: tuple[str, str] | None = None,
    rows: int | None = None,
) -> list[Project]:
    """By (organization's slug, slug), `after` such a place. A filter that is None is none."""
    after_organization, after_slug = after or (None, None)
    found = queries.projects_where(
        connection,
        organization_id=organization_id,
        project_id=project_id,
        organization_slug=organization_slug,
        slug=slug,
        after_organization=after_organization,
        after_slug=after_slug,
        rows=rows,
    )
    return [Project(**dict(row)) async for row in found]


async def note_token_uses(database: Database, uses: dict[str, datetime]) -> None:
    """When tokens were last used."""
    async with database.connection() as connection:
        await queries.note_token_uses(connection, token_ids=list(uses), last_used_at=list(uses.values()))
