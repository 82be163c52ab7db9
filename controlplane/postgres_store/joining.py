"""Join tokens, and the one transaction in which a node comes to be."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from controlplane.fleet.model import Intent, Node
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.directory import node_of
from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.intents import forget


class JoinRefusal(StrEnum):
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a reason, not a token
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_USED = "token_used"  # noqa: S105
    NAME_MISMATCH = "name_mismatch"
    NAME_TAKEN = "name_taken"
    REPLACED_IN_SERVICE = "replaced_in_service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    node_id: UUID
    region: str
    replaced: str | None = None
    """The id of the node whose place it took."""


async def insert_join_token(
    database: Database,
    *,
    token_id: str,
    sha256: bytes,
    region: str,
    node_name: str | None,
    replaces: str | None = None,
    force: bool = False,
    actor: Actor,
    expires_at: datetime,
) -> None:
    """Raises ConflictError when there is no such region, or no such node to replace."""
    async with database.transaction() as connection:
        await queries.insert_join_token(
            connection,
            id=token_id,
            sha256=sha256,
            region=region,
            node_name=node_name,
            replaces=None if replaces is None else UUID(replaces),
            force=force,
            created_by=actor.token_id,
            expires_at=expires_at,
        )
        made = {"region": region, "node_name": node_name, "replaces": replaces, "expires_at": expires_at}
        await write_audit(connection, actor, "join_token.create", token_id, after=made)


async def use_join_token(
    database: Database,
    *,
    token_id: str,
    sha256: bytes,
    nonce: str,
    name: str,
    node_id: UUID,
    node_token_sha256: bytes,
    now: datetime,
    is_in_service: Callable[[str], bool],
) -> Joined | JoinRefusal:
    """Spend the token for a node, exactly once however many ask at the same time.

    The same nonce may ask again until the token expires: its first answer was lost on the way. It then gets the same node
    with a new node token, and the lost one stops working. `is_in_service` is asked of a node that is to be replaced.
    """
    try:
        async with database.transaction() as connection:
            row = await queries.join_token_for_update(connection, id=token_id)
            if row is None or not hmac.compare_digest(row["sha256"], sha256):
                return JoinRefusal.TOKEN_UNKNOWN
            if row["expires_at"] <= now:
                return JoinRefusal.TOKEN_EXPIRED
            if row["node_name"] is not None and row["node_name"] != name:
                return JoinRefusal.NAME_MISMATCH
            if row["used_at"] is not None:
                if row["node_id"] is None or row["used_nonce"] is None or not hmac.compare_digest(row["used_nonce"], nonce):
                    return JoinRefusal.TOKEN_USED
                await queries.set_node_token(connection, id=row["node_id"], token_sha256=node_token_sha256)
                return Joined(node_id=row["node_id"], region=row["region"])
            replaced = None if row["replaces"] is None else await queries.node_for_update(connection, id=row["replaces"])
            if replaced is not None and not row["force"] and is_in_service(str(replaced["id"])):
                return JoinRefusal.REPLACED_IN_SERVICE
            actor = Actor(token_id=row["created_by"], kind="operator", address=None, request_id="")
            if replaced is not None:
                await forget(connection, replaced, actor, reason="replaced")
            await queries.insert_node(connection, id=node_id, name=name, region=row["region"], token_sha256=node_token_sha256)
            await queries.use_join_token(connection, id=token_id, nonce=nonce, node_id=node_id)
            if replaced is not None:
                await _take_over(connection, node_id, node_of(replaced), row["region"], actor)
            return Joined(node_id=node_id, region=row["region"], replaced=None if replaced is None else str(replaced["id"]))
    except ConflictError:
        return JoinRefusal.NAME_TAKEN


async def _take_over(connection: Any, node_id: UUID, replaced: Node, region: str, actor: Actor) -> None:
    """The new host is wanted as the old one was; a drain is over with the host that was drained."""
    if replaced.intent is Intent.CORDONED:
        await queries.set_intent(
            connection,
            id=node_id,
            intent=replaced.intent.value,
            reason=replaced.intent_reason,
            by=replaced.intent_by,
            deadline_seconds=0.0,
            force=True,
        )
    before, after = {"node_id": replaced.node_id}, {"node_id": str(node_id)}
    await write_audit(connection, actor, "node.replace", replaced.name, before=before, after=after)
    await queries.insert_node_event(
        connection,
        kind="node.replaced",
        region=region,
        node_id=node_id,
        was=replaced.node_id,
        became=str(node_id),
        reason="",
        detail="",
        actor=actor.token_id,
    )
