"""The tokens that nodes show: when the next one is wanted, and when it has taken the place of the last."""

from __future__ import annotations

from uuid import UUID

from controlplane.fleet.model import Node
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.directory import node_of


async def ask_for_token(database: Database, node_id: str, *, reason: str, actor: Actor) -> Node | None:
    """Offer the node its next token from now on; asked twice it is what it was. None: there is no such node.

    Raises DatabaseUnavailableError.
    """
    async with database.transaction() as connection:
        row = await queries.node_for_update(connection, id=UUID(node_id))
        if row is None:
            return None
        node = node_of(row)
        if await queries.want_node_token(connection, id=row["id"]):
            after = {"generation": node.token_generation + 1, "reason": reason}
            await write_audit(
                connection, actor, "node.rotate_token", node.name, before={"generation": node.token_generation}, after=after
            )
            await _tell(connection, node, became="wanted", reason="asked", detail=reason, actor=actor.token_id)
        return node_of(await queries.node_for_update(connection, id=row["id"]))


async def want_old_token(database: Database, node: Node, *, epoch: int) -> bool:
    """The same because of its age. False: `epoch` is over, or the node has another token by now."""
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return False
        if not await queries.want_old_node_token(connection, id=UUID(node.node_id), generation=node.token_generation):
            return False
        await _tell(connection, node, became="wanted", reason="age", detail="", actor="system")
        return True


async def take_token(database: Database, node: Node, sha256: bytes) -> bool:
    """The node has used its next token, which has this hash: the one before stops working. False: it was so already."""
    generation = node.token_generation + 1
    async with database.transaction() as connection:
        if not await queries.take_node_token(connection, id=UUID(node.node_id), sha256=sha256, generation=generation):
            return False
        await _tell(connection, node, became="replaced", reason="", detail=f"generation {generation}", actor="system")
        return True


async def _tell(connection: object, node: Node, *, became: str, reason: str, detail: str, actor: str) -> None:
    await queries.insert_node_event(
        connection,
        kind="node.token",
        region=node.region,
        node_id=UUID(node.node_id),
        was=None,
        became=became,
        reason=reason,
        detail=detail,
        actor=actor,
    )
