"""The leader's pass over draining nodes: takes their secrets away when nobody needs them any more, and tells when one is empty."""

from __future__ import annotations

from datetime import datetime

import structlog

from controlplane.fleet.intent import is_drained, may_withdraw, must_restore
from controlplane.fleet.model import Node
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.intents import latest_expiries, restore_secrets, set_drained, withdraw_secrets

log = structlog.get_logger()


class DrainKeeper:
    """Remembers nothing: what there is to do follows from the nodes and their reports. One per term."""

    def __init__(self, database: Database, keeper: FleetKeeper, directory: Directory, *, epoch: int) -> None:
        self._database = database
        self._keeper = keeper
        self._directory = directory
        self._epoch = epoch

    async def advance(self) -> None:
        """Raises DatabaseUnavailableError."""
        draining = [node for node in self._directory.nodes.values() if node.drain is not None and node.drain.drained_at is None]
        if not draining:
            return
        now = self._directory.database_now()
        latest = await latest_expiries(self._database, [node.node_id for node in draining])
        changed = [await self._go_on(node, latest.get(node.node_id), now) for node in draining]
        if any(changed):
            await self._directory.refresh()

    async def _go_on(self, node: Node, latest_expiry_at: datetime | None, now: datetime) -> bool:
        """One step, if there is one to take now."""
        drain, record = node.drain, self._keeper.view.record(node.node_id)
        if drain is None:
            return False
        if drain.withdrawn_at is None:
            if not may_withdraw(drain, latest_expiry_at=latest_expiry_at, now=now):
                return False
            step, event = withdraw_secrets, "node_secrets_withdrawn"
        elif must_restore(drain, latest_expiry_at=latest_expiry_at, now=now):
            step, event = restore_secrets, "node_secrets_restored"
        elif record is not None and is_drained(drain, record):
            step, event = set_drained, "node_drained"
        else:
            return False
        changed = await step(self._database, node, drain, epoch=self._epoch)
        if changed:
            log.info(event, node=node.name, region=node.region)
        return changed
