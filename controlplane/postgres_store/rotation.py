"""Secret versions of nodes: asked for, moved on, and until when each is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controlplane.fleet.model import Node
from controlplane.fleet.rotation import Step
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A node of which a rotation was asked for."""

    node_id: str
    name: str
    region: str
    queued: bool
    """Its last rotation has not ended: this one begins when it has."""


async def ask_for_rotation(
    database: Database, *, node_id: str | None, region: str | None, emergency: bool, reason: str, actor: Actor
) -> list[Asked]:
    """Of one node, of a region's, or of all, by name. `emergency`: the versions so far are out at once.

    Raises DatabaseUnavailableError.
    """
    ask = queries.replace_secrets if emergency else queries.ask_for_rotation
    async with database.transaction() as connection:
        found = ask(
            connection, node_id=None if node_id is None else UUID(node_id), region=region, reason=reason, actor=actor.token_id
        )
        asked = [Asked(node_id=str(row["id"]), name=row["name"], region=row["region"], queued=row["queued"]) async for row in found]
        after = {"emergency": emergency, "reason": reason, "nodes": len(asked)}
        await write_audit(connection, actor, "secret.rotate", node_id or region or "fleet", after=after)
        return asked


async def version_expiries(database: Database, node_ids: Sequence[str]) -> dict[str, dict[int, datetime]]:
    """Per node: per version, until when credentials that were signed with it are valid. Raises DatabaseUnavailableError."""
    expiries: dict[str, dict[int, datetime]] = defaultdict(dict)
    async with database.connection() as connection:
        async for row in queries.version_expiries(connection, nodes=[UUID(each) for each in node_ids]):
            expiries[str(row["node_id"])][row["secret_version"]] = row["latest_at"]
    return expiries


async def take_step(database: Database, node: Node, step: Step, *, epoch: int) -> bool:
    """False: `epoch` is over, or the versions are others than `node` says. Raises DatabaseUnavailableError."""
    identity, before = UUID(node.node_id), list(node.secret_versions)
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return False
        if step.versions is None:
            if not await queries.set_signing_since(connection, id=identity, before=before):
                return False
            became = "signing"
        else:
            staged = max(step.versions) > max(before)
            if not await queries.set_versions(connection, id=identity, before=before, versions=list(step.versions), staged=staged):
                return False
            became = "staged" if staged else "retired" if len(step.versions) < len(before) else "restored"
        await queries.insert_node_event(
            connection,
            kind="node.secret",
            region=node.region,
            node_id=identity,
            was=None,
            became=became,
            reason="",
            detail=f"version {max(step.versions or before)}",
            actor="system",
        )
        return True
