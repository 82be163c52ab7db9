"""Who changed what, from where, before and after. Written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

import msgspec

from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asked for a change."""

    token_id: str
    kind: str
    """project, organization or operator."""
    address: str | None
    request_id: str


async def write_audit(
    connection: Any,
    actor: Actor,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    organization_id: UUID | None = None,
    project_id: UUID | None = None,
) -> None:
    """`action` is `thing.verb` (project.patch), `target` the thing's slug or id. `before` and `after` must hold no secret."""
    await queries.insert_audit(
        connection,
        actor_token_id=actor.token_id,
        actor_kind=actor.kind,
        address=as_inet(actor.address),
        request_id=actor.request_id,
        organization_id=organization_id,
        project_id=project_id,
        action=action,
        object=target,
        before=None if before is None else msgspec.json.encode(before).decode(),
        after=None if after is None else msgspec.json.encode(after).decode(),
    )


def as_inet(address: str | None) -> str | None:
    """An address as PostgreSQL's inet takes it. None for what a proxy wrote that is none."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return None
    # inet knows no zone, as in fe80::1%eth0.
    return str(IPv6Address(int(parsed))) if isinstance(parsed, IPv6Address) else str(parsed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A change as it was written down. The slugs are those of today; None where the tenant is gone, or there was none."""

    id: int
    at: datetime
    actor_token_id: str
    actor_kind: str
    address: str | None
    request_id: str
    organization_slug: str | None
    project_slug: str | None
    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def audit_where(
    database: Database,
    *,
    organization_slug: str | None = None,
    actor_token_id: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before_id: int | None = None,
    rows: int,
) -> list[AuditEntry]:
    """The newest first, those older than `before_id`. A filter that is None is none; `until` itself is outside."""
    async with database.connection() as connection:
        found = queries.audit_where(
            connection,
            organization_slug=organization_slug,
            actor_token_id=actor_token_id,
            action=action,
            since=since,
            until=until,
            before_id=before_id,
            rows=rows,
        )
        return [AuditEntry(**{**row, "before": _decoded(row["before"]), "after": _decoded(row["after"])}) async for row in found]


def _decoded(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
