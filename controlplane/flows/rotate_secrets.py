"""The leader's pass over secret versions: stages, watches them sign, and retires what nobody needs any more."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from controlplane.fleet.model import Node
from controlplane.fleet.rotation import Step, next_step
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.master_keys import key_in_use
from controlplane.postgres_store.rotation import take_step, version_expiries

_SCHEDULED_AT_ONCE = 5
"""Nodes whose time has come are staged so many at a pass: each is two writes, and every replica reads the directory anew."""
_WATCHED_SECONDS = 3600.0
"""For so long after a rotation a record that arrives late brings its version back."""

log = structlog.get_logger()


class SecretRotator:
    """Remembers nothing: what there is to do follows from the nodes, their reports and the records. One per term."""

    def __init__(
        self, database: Database, keeper: FleetKeeper, directory: Directory, *, every: timedelta | None, epoch: int
    ) -> None:
        """`every`: how old a secret may become before it is rotated by itself; None: for ever."""
        self._database = database
        self._keeper = keeper
        self._directory = directory
        self._every = every
        self._epoch = epoch

    async def advance(self) -> None:
        """Raises DatabaseUnavailableError."""
        now = self._directory.database_now()
        nodes = self._directory.nodes.values()
        moving = [node for node in nodes if len(node.secret_versions) > 1 or node.rotation_wanted or _was_moving(node, now)]
        expiries = await version_expiries(self._database, [node.node_id for node in moving]) if moving else {}
        changed = False
        for node in moving:
            step = next_step(node, self._keeper.view.record(node.node_id), expiries=expiries.get(node.node_id, {}), now=now)
            if step is not None:
                changed |= await self._take(node, step)
        for node in self._due(now, await key_in_use(self._database)):
            newest = max(node.secret_versions)
            changed |= await self._take(node, Step(versions=(newest, newest + 1)))
        if changed:
            await self._directory.refresh()

    async def _take(self, node: Node, step: Step) -> bool:
        taken = await take_step(self._database, node, step, epoch=self._epoch)
        if taken:
            log.info("node_secret_moved", node=node.name, region=node.region, versions=step.versions or node.secret_versions)
        return taken

    def _due(self, now: datetime, key: str | None) -> list[Node]:
        """Those whose secret comes from another master key than the one in use, and those whose is too old; the oldest first."""
        old = [
            (since, node.node_id, node)
            for node in self._directory.nodes.values()
            if len(node.secret_versions) == 1 and (since := node.secret_staged_at or node.joined_at) is not None
            if node.key_of(node.secret_versions[0]) not in {None, key} or (self._every is not None and now - since >= self._every)
        ]
        return [node for _, _, node in sorted(old)[:_SCHEDULED_AT_ONCE]]


def _was_moving(node: Node, now: datetime) -> bool:
    return node.secret_staged_at is not None and (now - node.secret_staged_at).total_seconds() < _WATCHED_SECONDS
