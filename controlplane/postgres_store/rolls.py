"""Rolls: which regions are restarted node after node, and how far each node has come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from controlplane.fleet.model import Intent, Node
from controlplane.fleet.roll import End, Move, Roll, RollNode, RollState, RollStep
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.directory import node_of
from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.intents import put_intent

BY_ITSELF = "system"
_INTENT = {RollStep.DRAINING: Intent.DRAINING, RollStep.VERIFYING: Intent.CORDONED, RollStep.RETURNING: Intent.ACTIVE}
"""What is wanted of a node when that step begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedRoll:
    """The newest roll of a region, which stopped by itself: somebody should look."""

    roll_id: str
    region: str
    because: str


class _NotNowError(Exception):
    """Something is not as the step was decided on: nothing of it is written."""


async def start_roll(
    database: Database, *, region: str, reason: str, max_unavailable: int, deadline_seconds: int, force: bool, actor: Actor
) -> Roll:
    """Of the nodes that the region has now. Raises ConflictError with a sentence, and DatabaseUnavailableError."""
    identity = uuid7()
    try:
        async with database.transaction() as connection:
            await queries.insert_roll(
                connection,
                id=identity,
                region=region,
                reason=reason,
                max_unavailable=max_unavailable,
                deadline_seconds=deadline_seconds,
                force=force,
                started_by=actor.token_id,
            )
            nodes = int(await queries.insert_roll_nodes(connection, roll_id=identity, region=region))
            if not nodes:
                raise _NotNowError
            after = {"region": region, "reason": reason, "max_unavailable": max_unavailable, "nodes": nodes}
            await write_audit(connection, actor, "roll.start", str(identity), after=after)
            await _tell(connection, "roll.started", region, became=RollState.RUNNING, detail=reason, actor=actor.token_id)
            (roll,) = await _with_nodes(connection, [await queries.roll_by_id(connection, id=identity)])
            return roll
    except ConflictError:
        raise ConflictError("A roll of that region is running: wait for its end, or stop it first.") from None
    except _NotNowError:
        raise ConflictError("The region has no nodes.") from None


async def stop_roll(database: Database, roll_id: UUID, *, reason: str, actor: Actor) -> Roll | None:
    """No further step of it is taken. Of one that stopped by itself: somebody has looked. None: there is none.

    Raises ConflictError with a sentence, and DatabaseUnavailableError.
    """
    async with database.transaction() as connection:
        row = await queries.roll_for_update(connection, id=roll_id)
        if row is None:
            return None
        if row["state"] == RollState.FINISHED:
            raise ConflictError("The roll has finished.")
        if row["state"] == RollState.RUNNING or row["stopped_by"] == BY_ITSELF:
            because = row["stopped_because"] or reason or "An operator stopped it."
            await queries.end_roll(connection, id=roll_id, state=RollState.STOPPED, stopped_by=actor.token_id, because=because)
            await write_audit(
                connection, actor, "roll.stop", str(roll_id), before={"state": row["state"]}, after={"reason": reason}
            )
            if row["state"] == RollState.RUNNING:
                await _tell(
                    connection, "roll.stopped", row["region"], became=RollState.STOPPED, detail=because, actor=actor.token_id
                )
        return await _roll(connection, roll_id)


async def resume_roll(database: Database, roll_id: UUID, *, reason: str, actor: Actor) -> Roll | None:
    """It goes on. None: there is none. Raises ConflictError with a sentence, and DatabaseUnavailableError."""
    newer = "There is a newer roll of that region: resume that one, or start another."
    try:
        async with database.transaction() as connection:
            row = await queries.roll_for_update(connection, id=roll_id)
            if row is None:
                return None
            if row["state"] != RollState.STOPPED:
                raise _NotNowError(f"The roll is {row['state']}: there is nothing to resume.")
            if not await queries.is_newest_roll(connection, region=row["region"], id=roll_id):
                raise _NotNowError(newer)
            await queries.resume_roll(connection, id=roll_id)
            await queries.resume_roll_nodes(connection, roll_id=roll_id, intent_reason=_roll_of(row).intent_reason)
            await write_audit(
                connection,
                actor,
                "roll.resume",
                str(roll_id),
                before={"stopped_because": row["stopped_because"]},
                after={"reason": reason},
            )
            await _tell(connection, "roll.resumed", row["region"], became=RollState.RUNNING, detail=reason, actor=actor.token_id)
            return await _roll(connection, roll_id)
    except ConflictError:
        raise ConflictError(newer) from None
    except _NotNowError as error:
        raise ConflictError(str(error)) from None


async def roll_by_id(database: Database, roll_id: UUID) -> Roll | None:
    async with database.connection() as connection:
        return await _roll(connection, roll_id)


async def rolls_where(
    database: Database, *, region: str | None = None, state: str | None = None, before_id: UUID | None = None, rows: int
) -> list[Roll]:
    """The newest first, those older than `before_id`, with their nodes. A filter that is None is none."""
    async with database.connection() as connection:
        found = [row async for row in queries.rolls_where(connection, region=region, state=state, before=before_id, rows=rows)]
        return await _with_nodes(connection, found)


async def stopped_rolls(database: Database) -> list[StoppedRoll]:
    """Those that somebody should look at."""
    async with database.connection() as connection:
        found = queries.newest_rolls_stopped_by_themselves(connection)
        return [StoppedRoll(roll_id=str(row["id"]), region=row["region"], because=row["stopped_because"]) async for row in found]


async def take_move(database: Database, roll: Roll, move: Move, *, epoch: int) -> bool:
    """A node's next step, with all that it changes. False: `epoch` is over, or something is not as it was decided on."""
    identity = UUID(move.node.node_id)
    try:
        async with database.transaction() as connection:
            await _hold(connection, roll, epoch)
            locked = await queries.node_for_update(connection, id=identity)
            after = None if locked is None else await _changed(connection, roll, move, node_of(locked))
            wants_node = move.to not in {RollStep.SKIPPED, RollStep.FAILED}
            if after is None and wants_node:
                raise _NotNowError
            taken = await queries.take_roll_step(
                connection,
                roll_id=UUID(roll.roll_id),
                node_id=identity,
                was=move.node.step,
                since_at=move.node.since_at,
                step=move.to,
                detail=move.detail,
                intent_at=after.intent_at if after is not None and move.to in _INTENT else None,
                generation=after.coturn_generation if after is not None and move.to is RollStep.RESTARTING else None,
            )
            if not taken:
                raise _NotNowError
            await queries.insert_roll_event(
                connection,
                kind="roll.node",
                region=roll.region,
                node_id=identity,
                was=move.node.step,
                became=move.to,
                detail=move.detail,
                actor=BY_ITSELF,
            )
    except _NotNowError:
        return False
    return True


async def end_roll(database: Database, roll: Roll, end: End, *, epoch: int) -> bool:
    """It has finished, or stops by itself. False as above."""
    try:
        async with database.transaction() as connection:
            await _hold(connection, roll, epoch)
            stopped_by = BY_ITSELF if end.state is RollState.STOPPED else ""
            await queries.end_roll(connection, id=UUID(roll.roll_id), state=end.state, stopped_by=stopped_by, because=end.because)
            await _tell(connection, f"roll.{end.state}", roll.region, became=end.state, detail=end.because, actor=BY_ITSELF)
    except _NotNowError:
        return False
    return True


async def _hold(connection: Any, roll: Roll, epoch: int) -> None:
    """For this transaction: the term is the newest, and the roll runs as it did. Raises _NotNowError."""
    if not await queries.hold_epoch(connection, epoch=epoch):
        raise _NotNowError
    row = await queries.roll_for_update(connection, id=UUID(roll.roll_id))
    if row is None or row["state"] != RollState.RUNNING or row["running_since"] != roll.running_since:
        raise _NotNowError


async def _changed(connection: Any, roll: Roll, move: Move, node: Node) -> Node:
    """The locked node after what the step wants of it. Raises _NotNowError when somebody else wanted something meanwhile."""
    untouched = move.node.step is RollStep.WAITING and node.intent is Intent.ACTIVE
    ours = node.intent_at == move.node.intent_at and node.intent_reason == roll.intent_reason
    if move.to in {RollStep.SKIPPED, RollStep.FAILED}:
        return node
    if not (untouched or ours):
        raise _NotNowError
    if move.to is RollStep.RESTARTING:
        raised = await queries.raise_coturn_generation(connection, id=UUID(node.node_id), reported=move.reported_generation)
        return replace(node, coturn_generation=raised)
    wanted = _INTENT.get(move.to)
    if wanted is None:
        return node
    return await put_intent(
        connection,
        node,
        wanted,
        reason=roll.intent_reason,
        deadline_seconds=roll.deadline_seconds,
        force=roll.force,
        by=roll.started_by,
        because="roll",
    )


async def _tell(connection: Any, kind: str, region: str, *, became: RollState, detail: str, actor: str) -> None:
    await queries.insert_roll_event(
        connection, kind=kind, region=region, node_id=None, was=None, became=became, detail=detail, actor=actor
    )


async def _roll(connection: Any, roll_id: UUID) -> Roll | None:
    row = await queries.roll_by_id(connection, id=roll_id)
    return None if row is None else (await _with_nodes(connection, [row]))[0]


async def _with_nodes(connection: Any, rows: Sequence[Any]) -> list[Roll]:
    nodes: dict[UUID, list[RollNode]] = defaultdict(list)
    async for row in queries.roll_nodes_of(connection, rolls=[row["id"] for row in rows]):
        nodes[row["roll_id"]].append(
            RollNode(
                node_id=str(row["node_id"]),
                name=row["name"],
                step=RollStep(row["step"]),
                since_at=row["since_at"],
                intent_at=row["intent_at"],
                generation=row["generation"],
                detail=row["detail"],
            )
        )
    return [replace(_roll_of(row), nodes=tuple(nodes[row["id"]])) for row in rows]


def _roll_of(row: Any) -> Roll:
    """Without its nodes."""
    fields = {**row, "roll_id": str(row["id"]), "state": RollState(row["state"])}
    del fields["id"]
    return Roll(**fields)
