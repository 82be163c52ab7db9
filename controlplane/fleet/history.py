"""What is kept of a minute of the fleet's life: looked at several times, summed up per node and per region.

A node's load counts while its report is fresh: what a silent node carried is not known, and is no zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.fleet.health import HEALTH_RANK
from controlplane.fleet.model import Health, HealthReason, Intent, Load
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.region_load import region_load


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Of the fresh reports."""

    receive_bits_per_second: float
    transmit_bits_per_second: float
    receive_packets_per_second: float
    transmit_packets_per_second: float
    allocations: float
    cpu_ratio: float
    memory_ratio: float
    utilisation: float


@dataclass(slots=True)
class NodeMinute:
    """One node's sums. `health` is the worst that was seen, with its reason; `intent` the last."""

    health: Health = Health.UP
    health_reason: HealthReason = HealthReason.REPORTING
    intent: Intent = Intent.ACTIVE
    ticks: int = 0
    eligible_ticks: int = 0
    reports: int = 0
    max_bits_per_second: float = 0.0
    max_allocations: int = 0
    max_cpu_ratio: float = 0.0
    max_utilisation: float = 0.0
    _sums: list[float] = field(default_factory=lambda: [0.0] * 8)

    def add(self, state: NodeState, *, fresh_seconds: float) -> None:
        verdict = state.verdict
        if self.ticks == 0 or HEALTH_RANK[verdict.health] >= HEALTH_RANK[self.health]:
            self.health, self.health_reason = verdict.health, verdict.reason
        self.intent = state.node.intent
        self.ticks += 1
        self.eligible_ticks += state.eligible
        if state.record is not None and state.age_seconds is not None and state.age_seconds <= fresh_seconds:
            self._add_load(state.record.report.load, state.utilisation)

    def _add_load(self, load: Load, utilisation: float) -> None:
        self.reports += 1
        sums = self._sums
        for place, value in enumerate(_values(load, utilisation)):
            sums[place] += value
        self.max_bits_per_second = max(self.max_bits_per_second, load.bits_per_second)
        self.max_allocations = max(self.max_allocations, load.allocations)
        self.max_cpu_ratio = max(self.max_cpu_ratio, load.cpu_ratio)
        self.max_utilisation = max(self.max_utilisation, utilisation)

    @property
    def eligible_ratio(self) -> float:
        return self.eligible_ticks / self.ticks

    @property
    def means(self) -> Means | None:
        """None: no report was fresh."""
        if not self.reports:
            return None
        bits_in, bits_out, packets_in, packets_out, allocations, cpu, memory, fill = (each / self.reports for each in self._sums)
        return Means(
            receive_bits_per_second=bits_in,
            transmit_bits_per_second=bits_out,
            receive_packets_per_second=packets_in,
            transmit_packets_per_second=packets_out,
            allocations=allocations,
            cpu_ratio=cpu,
            memory_ratio=memory,
            utilisation=fill,
        )


def _values(load: Load, utilisation: float) -> tuple[float, ...]:
    """In the order of Means."""
    return (
        load.receive_bits_per_second,
        load.transmit_bits_per_second,
        load.receive_packets_per_second,
        load.transmit_packets_per_second,
        load.allocations,
        load.cpu_ratio,
        load.memory_ratio,
        utilisation,
    )


@dataclass(slots=True)
class RegionMinute:
    """One region's sums over `ticks` looks at all of its nodes."""

    ticks: int = 0
    operational_ticks: int = 0
    nodes: int = 0
    up_nodes: int = 0
    eligible_nodes: int = 0
    min_eligible_nodes: int = 0
    receive_bits_per_second: float = 0.0
    transmit_bits_per_second: float = 0.0
    receive_packets_per_second: float = 0.0
    transmit_packets_per_second: float = 0.0
    allocations: int = 0
    utilisation: float = 0.0
    filled_ticks: int = 0
    """Those at which some node took clients, so that there was a utilisation."""
    max_bits_per_second: float = 0.0
    max_allocations: int = 0
    max_utilisation: float = 0.0

    def add(self, states: Sequence[NodeState], *, operational: bool, fresh_seconds: float) -> None:
        fresh = [state for state in states if state.age_seconds is not None and state.age_seconds <= fresh_seconds]
        load, taking = region_load(fresh), region_load(states)  # who takes clients may be held, and silent
        loads = [state.record.report.load for state in fresh if state.record is not None]
        self.min_eligible_nodes = min(self.min_eligible_nodes, taking.eligible_nodes) if self.ticks else taking.eligible_nodes
        self.ticks += 1
        self.operational_ticks += operational
        self.nodes += len(states)
        self.up_nodes += sum(state.verdict.health is Health.UP for state in states)
        self.eligible_nodes += taking.eligible_nodes
        self.receive_bits_per_second += sum(each.receive_bits_per_second for each in loads)
        self.transmit_bits_per_second += sum(each.transmit_bits_per_second for each in loads)
        self.receive_packets_per_second += sum(each.receive_packets_per_second for each in loads)
        self.transmit_packets_per_second += sum(each.transmit_packets_per_second for each in loads)
        self.allocations += load.allocations
        self.max_bits_per_second = max(self.max_bits_per_second, load.bits_per_second)
        self.max_allocations = max(self.max_allocations, load.allocations)
        if load.utilisation is not None:
            self.filled_ticks += 1
            self.utilisation += load.utilisation
            self.max_utilisation = max(self.max_utilisation, load.utilisation)


@dataclass(slots=True)
class Minute:
    """Everybody's sums, by node id and by slug."""

    nodes: dict[str, NodeMinute] = field(default_factory=dict)
    regions: dict[str, RegionMinute] = field(default_factory=dict)

    def add_region(self, slug: str, states: Sequence[NodeState], *, operational: bool, fresh_seconds: float) -> None:
        """One look at a region and all of its nodes. `operational`: it takes new clients."""
        self.regions.setdefault(slug, RegionMinute()).add(states, operational=operational, fresh_seconds=fresh_seconds)
        for state in states:
            self.nodes.setdefault(state.node.node_id, NodeMinute()).add(state, fresh_seconds=fresh_seconds)
