"""The leader's pass over draining nodes: takes their secrets away when nobody needs them any more, and tells when one is empty."""

from __future__ import annotations

import structlog

from controlplane.fleet.intent import is_drained, may_withdraw
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.intents import latest_expiries, set_drained, withdraw_secrets

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
        waiting = [node.node_id for node in draining if node.drain is not None and node.drain.withdrawn_at is None]
        latest = await latest_expiries(self._database, waiting) if waiting else {}
        changed = False
        for node in draining:
            drain, record = node.drain, self._keeper.view.record(node.node_id)
            if drain is None:
                continue
            if drain.withdrawn_at is None:
                if may_withdraw(drain, latest_expiry_at=latest.get(node.node_id), now=now):
                    await withdraw_secrets(self._database, node, epoch=self._epoch)
                    log.info("node_secrets_withdrawn", node=node.name, region=node.region)
                    changed = True
            elif record is not None and is_drained(drain, record.report):
                await set_drained(self._database, node, epoch=self._epoch)
                log.info("node_drained", node=node.name, region=node.region)
                changed = True
        if changed:
            await self._directory.refresh()
