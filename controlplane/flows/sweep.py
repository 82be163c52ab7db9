"""The leader's pass over the fleet: tells what changed. It decides nothing; every replica has derived the same by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog

from controlplane.fleet.model import Health, HealthReason
from controlplane.fleet.node_state import NodeState
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.events import FleetEvent, FleetNews, insert_events, last_health, last_region_states

_SERVED = {Health.UP.value, Health.SUSPECT.value}
"""A node that was told to be so may have had clients."""

log = structlog.get_logger()


class Sweeper:
    """Remembers what was told last; a new leader reads it from the events. One per term."""

    def __init__(self, database: Database, keeper: FleetKeeper, *, epoch: int) -> None:
        self._database = database
        self._keeper = keeper
        self._epoch = epoch
        self._told: dict[str, str] | None = None
        self._told_regions: dict[str, str] = {}

    async def sweep(self) -> int:
        """Write an event for every node and region that is in another state than was last told; how many.

        Raises DatabaseUnavailableError.
        """
        if not self._keeper.seeing:
            return 0  # what we do not see is no news about the fleet
        if self._told is None:
            self._told_regions = await last_region_states(self._database)
            self._told = await last_health(self._database)
        states = self._keeper.view.states(now=time.monotonic())
        nodes = self._node_events(states, self._told)
        regions = self._region_events(states, self._told)
        if nodes or regions:
            names = {state.node.node_id: state.node.name for state in states}
            news = [each for event in (*nodes, *regions) if (each := _news(event, names)) is not None]
            await insert_events(self._database, [*nodes, *regions], epoch=self._epoch, news=news)
        for event in nodes:
            self._told[str(event.node_id)] = event.became or ""
            log.info("node_health_changed", node_id=str(event.node_id), was=event.was, became=event.became, reason=event.reason)
        for event in regions:
            self._told_regions[event.region or ""] = event.became or ""
            log.info("region_state_changed", region=event.region, was=event.was, became=event.became)
        return len(nodes) + len(regions)

    def _node_events(self, states: Sequence[NodeState], told: dict[str, str]) -> list[FleetEvent]:
        events: list[FleetEvent] = []
        for state in states:
            node, health = state.node, state.verdict.health.value
            if state.record is None and node.node_id in told:
                continue  # this process has only just begun to listen
            if state.verdict.reason is HealthReason.HELD:
                continue  # its silence is ours, and no news about it
            was = told.get(node.node_id)
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
        return events

    def _region_events(self, states: Sequence[NodeState], told: dict[str, str]) -> list[FleetEvent]:
        """Up: it takes new clients, as `is_operational` of GET /regions says it. One that never did is not told to be down."""
        unheard = {state.node.region for state in states if state.record is None and told.get(state.node.node_id) in _SERVED}
        events: list[FleetEvent] = []
        for slug, region in self._keeper.view.table.regions.items():
            was = self._told_regions.get(slug)
            became = "up" if region.contenders else "down"
            if became == (was or "down") or (became == "down" and slug in unheard):
                continue
            events.append(
                FleetEvent(
                    happened_at=datetime.now(UTC),
                    kind="region.state",
                    region=slug,
                    node_id=None,
                    was=was,
                    became=became,
                    reason="",
                    detail="" if became == "up" else "No node of it takes new clients.",
                )
            )
        return events


def _news(event: FleetEvent, names: dict[str, str]) -> FleetNews | None:
    """What webhooks are told of an event; None: nothing. What comes up for the first time is not back."""
    if event.kind == "node.health":
        if event.became != Health.DOWN.value or event.was not in _SERVED:
            return None
        node_id = str(event.node_id)
        data = {"node_id": node_id, "name": names[node_id], "region": event.region, "reason": event.reason}
        return FleetNews(kind="node.down", happened_at=event.happened_at, data=data)
    if event.was is None:
        return None
    return FleetNews(
        kind="region.up" if event.became == "up" else "region.down", happened_at=event.happened_at, data={"region": event.region}
    )
