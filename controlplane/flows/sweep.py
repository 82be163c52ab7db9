"""The leader's pass over the fleet: tells what changed. It decides nothing; every replica has derived the same by itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

import structlog

from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.events import FleetEvent, insert_events, last_health

log = structlog.get_logger()


class Sweeper:
    """Remembers what was told last; a new leader reads it from the events. One per term."""

    def __init__(self, database: Database, keeper: FleetKeeper, *, epoch: int) -> None:
        self._database = database
        self._keeper = keeper
        self._epoch = epoch
        self._told: dict[str, str] | None = None

    async def sweep(self) -> int:
        """Write an event for every node whose health is another than was last told. Raises DatabaseUnavailableError."""
        if self._keeper.view.silence_held(time.monotonic()) or not self._keeper.seeing:
            return 0  # what we do not see is no news about the fleet
        if self._told is None:
            self._told = await last_health(self._database)
        now = time.monotonic()
        events: list[FleetEvent] = []
        for state in self._keeper.view.states(now=now):
            node, health = state.node, state.verdict.health.value
            if state.record is None and node.node_id in self._told:
                continue  # this process has only just begun to listen
            was = self._told.get(node.node_id)
            if was == health:
                continue
            events.append(
                FleetEvent(
                    happened_at=datetime.now(UTC),
                    kind="node.health",
                    region=node.region,
                    node_id=UUID(node.node_id),
                    was=was,
                    became=health,
                    reason=state.verdict.reason.value,
                    detail=state.verdict.detail,
                )
            )
        if events:
            await insert_events(self._database, events, epoch=self._epoch)
            for event in events:
                self._told[str(event.node_id)] = event.became or ""
                log.info("node_health_changed", node_id=str(event.node_id), was=event.was, became=event.became, reason=event.reason)
        return len(events)
