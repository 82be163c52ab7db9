"""Who changed what, from where, before and after. Written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from controlplane.postgres_store.database import queries


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
        address=actor.address,
        request_id=actor.request_id,
        organization_id=organization_id,
        project_id=project_id,
        action=action,
        object=target,
        before=None if before is None else msgspec.json.encode(before).decode(),
        after=None if after is None else msgspec.json.encode(after).decode(),
    )
