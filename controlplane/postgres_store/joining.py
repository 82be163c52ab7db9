"""Join tokens, and the one transaction in which a node comes to be."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.errors import ConflictError


class JoinRefusal(StrEnum):
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a reason, not a token
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_USED = "token_used"  # noqa: S105
    NAME_MISMATCH = "name_mismatch"
    NAME_TAKEN = "name_taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    node_id: UUID
    region: str


async def insert_join_token(
    database: Database, *, token_id: str, sha256: bytes, region: str, node_name: str | None, actor: Actor, expires_at: datetime
) -> None:
    """Raises ConflictError when there is no such region."""
    async with database.transaction() as connection:
        await queries.insert_join_token(
            connection,
            id=token_id,
            sha256=sha256,
            region=region,
            node_name=node_name,
            created_by=actor.token_id,
            expires_at=expires_at,
        )
        made = {"region": region, "node_name": node_name, "expires_at": expires_at}
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
) -> Joined | JoinRefusal:
    """Spend the token for a node, exactly once however many ask at the same time.

    The same nonce may ask again until the token expires: its first answer was lost on the way. It then gets the same node
    with a new node token, and the lost one stops working.
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
            await queries.insert_node(connection, id=node_id, name=name, region=row["region"], token_sha256=node_token_sha256)
            await queries.use_join_token(connection, id=token_id, nonce=nonce, node_id=node_id)
            return Joined(node_id=node_id, region=row["region"])
    except ConflictError:
        return JoinRefusal.NAME_TAKEN
