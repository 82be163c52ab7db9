"""What operators want of a node, and how far its drain has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.fleet.intent import Change, DrainPhase, intent_after
from controlplane.fleet.model import Drain, Intent, Node
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.directory import node_of
from controlplane.postgres_store.errors import ConflictError


async def change_intent(
    database: Database, node_id: str, change: Change, *, reason: str, deadline_seconds: float, force: bool, actor: Actor
) -> Node | None:
    """The node after the change; None: there is none. With its audit entry and its event.

    Raises ConflictError with a sentence when it cannot be now, and DatabaseUnavailableError.
    """
    async with database.transaction() as connection:
        row = await queries.node_for_update(connection, id=UUID(node_id))
        if row is None:
            return None
        before = node_of(row)
        wanted = intent_after(change, before.intent)
        if not isinstance(wanted, Intent):
            raise ConflictError(wanted)
        after = await put_intent(
            connection,
            before,
            wanted,
            reason=reason,
            deadline_seconds=deadline_seconds,
            force=force,
            by=actor.token_id,
            because=change.value,
        )
        await write_audit(connection, actor, f"node.{change}", before.name, before=_said(before), after=_said(after))
        return after


async def put_intent(
    connection: Any, before: Node, wanted: Intent, *, reason: str, deadline_seconds: float, force: bool, by: str, because: str
) -> Node:
    """The node after it, with its event. `before` is a node that this transaction has locked, `because` what asked for it."""
    identity = UUID(before.node_id)
    await queries.set_intent(
        connection, id=identity, intent=wanted.value, reason=reason, by=by, deadline_seconds=deadline_seconds, force=force
    )
    after = node_of(await queries.node_for_update(connection, id=identity))
    if after.intent is not before.intent:
        await queries.insert_node_event(
            connection,
            kind="node.intent",
            region=after.region,
            node_id=identity,
            was=before.intent.value,
            became=after.intent.value,
            reason=because,
            detail=reason,
            actor=by,
        )
    return after


async def forget_node(database: Database, node_id: str, *, actor: Actor) -> Node | None:
    """Delete it: its token stops working, and it may join anew. None: there is none. Raises DatabaseUnavailableError."""
    async with database.transaction() as connection:
        row = await queries.node_for_update(connection, id=UUID(node_id))
        return None if row is None else await forget(connection, row, actor, reason="")


async def forget(connection: Any, row: Any, actor: Actor, *, reason: str) -> Node:
    """The same within a transaction, of a node whose row is locked."""
    gone = node_of(row)
    await write_audit(connection, actor, "node.forget", gone.name, before={"region": gone.region, **_said(gone)})
    # As every change of a node: first its row, then the event. The other order would wait for another change in a circle.
    await queries.delete_node(connection, id=row["id"])
    await queries.delete_node_expiries(connection, id=row["id"])
    await queries.insert_forgotten_event(
        connection, region=gone.region, node_id=row["id"], name=gone.name, reason=reason, actor=actor.token_id
    )
    return gone


async def latest_expiries(database: Database, node_ids: Sequence[str]) -> dict[str, datetime]:
    """Until when credentials signed for these nodes are valid; a node that none was signed for is left out."""
    async with database.connection() as connection:
        found = queries.latest_expiries(connection, nodes=[UUID(each) for each in node_ids])
        return {str(row["node_id"]): row["latest_at"] async for row in found}


async def withdraw_secrets(database: Database, node: Node, drain: Drain, *, epoch: int) -> bool:
    """From now on coturn shall hold none of its secrets. False: `epoch` is over, or the drain is another one than `drain`."""
    return await _go_on(database, node, drain, "withdraw_secrets", (DrainPhase.WAITING, DrainPhase.EMPTYING), epoch)


async def restore_secrets(database: Database, node: Node, drain: Drain, *, epoch: int) -> bool:
    """It shall hold them again. False as above."""
    return await _go_on(database, node, drain, "restore_secrets", (DrainPhase.EMPTYING, DrainPhase.WAITING), epoch)


async def set_drained(database: Database, node: Node, drain: Drain, *, epoch: int) -> bool:
    """No allocation of it is left. False as above."""
    return await _go_on(database, node, drain, "set_drained", (DrainPhase.EMPTYING, DrainPhase.DRAINED), epoch)


async def _go_on(
    database: Database, node: Node, drain: Drain, statement: str, phases: tuple[DrainPhase, DrainPhase], epoch: int
) -> bool:
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return False
        known = {"since_at": drain.since_at, "deadline_at": drain.deadline_at, "withdrawn_at": drain.withdrawn_at}
        if not await getattr(queries, statement)(connection, id=UUID(node.node_id), **known):
            return False
        await queries.insert_node_event(
            connection,
            kind="node.drain",
            region=node.region,
            node_id=UUID(node.node_id),
            was=phases[0].value,
            became=phases[1].value,
            reason="",
            detail="",
            actor="system",
        )
        return True


def _said(node: Node) -> dict[str, object]:
    drain = node.drain
    said: dict[str, object] = {"intent": node.intent.value, "reason": node.intent_reason}
    return said if drain is None else said | {"deadline_at": drain.deadline_at, "force": drain.force}
