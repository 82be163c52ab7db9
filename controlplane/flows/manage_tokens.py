"""Tokens: make, change, rotate, delete, within the reach of whoever asks and never with more scopes than they have."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from controlplane.flows.authenticate import Principal, ProjectRequiredError, ProjectUnknownError
from controlplane.flows.manage_organizations import named_organization
from controlplane.flows.manage_projects import named_project
from controlplane.flows.tenant_access import (
    CollisionError,
    Reach,
    UnknownObjectError,
    as_of_now,
    check_may_grant,
    difference,
    reach_of,
)
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.tenants import tenant_change
from controlplane.postgres_store.tokens import NewToken, TokenRecord, delete_token, insert_token, save_token, tokens_where
from controlplane.wire.redacted import Redacted
from controlplane.wire.token_format import RANDOM_BYTES_NEEDED, make_token

_SCOPE = "tokens:manage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new token is to be. Slugs are None where the maker's own tenant is meant."""

    kind: str
    name: str
    scopes: Sequence[str]
    expires_at: datetime | None
    organization: str | None
    project: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeToken:
    token: Redacted
    record: TokenRecord


async def list_tokens(
    database: Database,
    reach: Reach,
    *,
    organization: str | None,
    project: str | None,
    kind: str | None,
    after: tuple[datetime, str] | None,
    rows: int,
) -> list[TokenRecord]:
    async with database.connection() as connection:
        return await tokens_where(
            connection,
            operators=reach.operators,
            organization_id=reach.organization_id,
            project_id=reach.project_id,
            organization_slug=organization,
            project_slug=project,
            kind=kind,
            after=after,
            rows=rows,
        )


async def show_token(database: Database, reach: Reach, token_id: str) -> TokenRecord:
    """Raises UnknownObjectError."""
    async with database.connection() as connection:
        return await _named(connection, reach, token_id)


async def create_token(database: Database, actor: Actor, principal: Principal, wanted: Wanted) -> MadeToken:
    """Raises NotAllowedError, UnknownObjectError, ProjectRequiredError or ProjectUnknownError."""
    async with tenant_change(database) as connection:
        principal = await as_of_now(connection, principal, _SCOPE)
        check_may_grant(principal, kind=wanted.kind, scopes=wanted.scopes)
        organization_id, project_id = await _owner(connection, reach_of(principal), wanted)
        made = await _insert(
            connection,
            principal,
            kind=wanted.kind,
            name=wanted.name,
            scopes=wanted.scopes,
            expires_at=wanted.expires_at,
            organization_id=organization_id,
            project_id=project_id,
        )
        await _audit(connection, actor, "token.create", made.record, after=asdict(made.record))
    return made


async def patch_token(
    database: Database, actor: Actor, principal: Principal, token_id: str, changes: Mapping[str, Any]
) -> TokenRecord:
    """Raises UnknownObjectError; NotAllowedError for a scope that whoever asks lacks."""
    async with tenant_change(database) as connection:
        principal = await as_of_now(connection, principal, _SCOPE)
        before = await _named(connection, reach_of(principal), token_id)
        if "scopes" in changes:
            check_may_grant(principal, kind=before.kind, scopes=changes["scopes"])
        after = replace(before, **changes)
        if after != before:
            await save_token(connection, after)
            was, became = difference(asdict(before), asdict(after))
            await _audit(connection, actor, "token.patch", after, before=was, after=became)
    return after


async def rotate_token(
    database: Database, actor: Actor, principal: Principal, token_id: str, *, overlap_seconds: int, now: datetime
) -> MadeToken:
    """A successor of the same kind, name and scopes, at once; the old token works until the overlap ends, or it expires.

    One that lives for a limited time gets a successor that lives as long from now on.
    Raises UnknownObjectError; NotAllowedError for a token with more scopes than whoever asks has, since they get to see the
    successor; CollisionError for one that has expired or has a successor.
    """
    async with tenant_change(database) as connection:
        principal = await as_of_now(connection, principal, _SCOPE)
        before = await _named(connection, reach_of(principal), token_id)
        check_may_grant(principal, kind=before.kind, scopes=before.scopes)
        if before.successor_id is not None:
            raise CollisionError(f"The token was rotated already: its successor is {before.successor_id}.")
        if before.expires_at is not None and before.expires_at <= now:
            raise CollisionError("The token has expired: make a new one.")
        made = await _insert(
            connection,
            principal,
            kind=before.kind,
            name=before.name,
            scopes=before.scopes,
            expires_at=None if before.expires_at is None else now + (before.expires_at - before.created_at),
            organization_id=before.organization_id,
            project_id=before.project_id,
        )
        overlap_ends_at = now + timedelta(seconds=overlap_seconds)
        after = replace(
            before,
            successor_id=made.record.token_id,
            expires_at=overlap_ends_at if before.expires_at is None else min(before.expires_at, overlap_ends_at),
        )
        await save_token(connection, after)
        await _audit(connection, actor, "token.create", made.record, after=asdict(made.record))
        was, became = difference(asdict(before), asdict(after))
        await _audit(connection, actor, "token.rotate", after, before=was, after=became)
    return made


async def remove_token(database: Database, actor: Actor, reach: Reach, token_id: str) -> None:
    """Raises UnknownObjectError."""
    async with tenant_change(database) as connection:
        gone = await _named(connection, reach, token_id)
        await delete_token(connection, token_id)
        await _audit(connection, actor, "token.delete", gone, before=asdict(gone))


async def _named(connection: Any, reach: Reach, token_id: str) -> TokenRecord:
    found = await tokens_where(
        connection,
        operators=reach.operators,
        organization_id=reach.organization_id,
        project_id=reach.project_id,
        token_id=token_id,
    )
    if not found:
        raise UnknownObjectError("There is no token of that id.")
    return found[0]


async def _owner(connection: Any, reach: Reach, wanted: Wanted) -> tuple[UUID | None, UUID | None]:
    """(organization id, project id) that the new token belongs to."""
    if wanted.kind == "operator":
        return None, None
    if wanted.kind == "organization":
        if wanted.organization is None:
            return reach.organization_id, None
        named = await named_organization(connection, wanted.organization)
        if reach.organization_id not in {None, named.organization_id}:
            raise UnknownObjectError(f"There is no organization {wanted.organization}.")
        return named.organization_id, None
    if wanted.project is None and wanted.organization is None and reach.project_id is not None:
        return reach.organization_id, reach.project_id
    if wanted.project is None:
        raise ProjectRequiredError("Name the token's project: project, with its slug.")
    try:
        project = await named_project(connection, reach, wanted.project, organization=wanted.organization)
    except UnknownObjectError as error:
        raise ProjectUnknownError(str(error)) from None
    return project.organization_id, project.project_id


async def _insert(
    connection: Any,
    principal: Principal,
    *,
    kind: str,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    organization_id: UUID | None,
    project_id: UUID | None,
) -> MadeToken:
    token, parsed = make_token(kind, os.urandom(RANDOM_BYTES_NEEDED))
    await insert_token(
        connection,
        NewToken(
            token_id=parsed.token_id,
            kind=kind,
            sha256=parsed.sha256,
            name=name,
            scopes=scopes,
            created_by=principal.token_id,
            organization_id=organization_id,
            project_id=project_id,
            expires_at=expires_at,
        ),
    )
    (record,) = await tokens_where(connection, operators=True, token_id=parsed.token_id)
    return MadeToken(token=token, record=record)


async def _audit(
    connection: Any,
    actor: Actor,
    action: str,
    token: TokenRecord,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    await write_audit(
        connection,
        actor,
        action,
        token.token_id,
        before=before,
        after=after,
        organization_id=token.organization_id,
        project_id=token.project_id,
    )
