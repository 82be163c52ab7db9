"""Tokens as they are managed: everything about them but the token itself, which is stored as a SHA-256 alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    token_id: str
    kind: str
    organization_id: UUID | None
    organization_slug: str | None
    project_id: UUID | None
    project_slug: str | None
    name: str
    scopes: Sequence[str]
    created_at: datetime
    created_by: str
    """The id of the token that made it, or `bootstrap`."""
    expires_at: datetime | None
    last_used_at: datetime | None
    successor_id: str | None
    """Of the token that it was rotated to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    token_id: str
    kind: str
    sha256: bytes
    name: str
    scopes: Sequence[str]
    created_by: str
    organization_id: UUID | None = None
    project_id: UUID | None = None
    expires_at: datetime | None = None


async def tokens_where(
    connection: Any,
    *,
    operators: bool,
    token_id: str | None = None,
    organization_id: UUID | None = None,
    project_id: UUID | None = None,
    organization_slug: str | None = None,
    project_slug: str | None = None,
    kind: str | None = None,
    after: tuple[datetime, str] | None = None,
    rows: int | None = None,
) -> list[TokenRecord]:
    """The newest first, `after` a place (created_at, id). A filter that is None is none; operators' only with `operators`."""
    after_created_at, after_id = after or (None, None)
    found = queries.tokens_where(
        connection,
        operators=operators,
        id=token_id,
        organization_id=organization_id,
        project_id=project_id,
        organization_slug=organization_slug,
        project_slug=project_slug,
        kind=kind,
        after_created_at=after_created_at,
        after_id=after_id,
        rows=rows,
    )
    return [TokenRecord(**dict(row)) async for row in found]


async def insert_token(connection: Any, token: NewToken) -> None:
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
        created_by=token.created_by,
    )


async def insert_tokens(database: Database, tokens: Sequence[NewToken]) -> None:
    async with database.transaction() as connection:
        for token in tokens:
            await insert_token(connection, token)


async def save_token(connection: Any, token: TokenRecord) -> None:
    """What can change of it: name, scopes, expiry, successor."""
    await queries.save_token(
        connection,
        token_id=token.token_id,
        name=token.name,
        scopes=list(token.scopes),
        expires_at=token.expires_at,
        successor_id=token.successor_id,
    )


async def delete_token(connection: Any, token_id: str) -> None:
    """It is of no use from now on; its row stays, for the records that name it."""
    await queries.delete_token(connection, token_id=token_id)
