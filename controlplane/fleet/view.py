"""One replica's picture of the fleet in memory: who the nodes are, what they last reported, what was placed since.

Holds no clock: every method takes `now`, monotonic seconds of one process. All ages are on that clock, so that a wall
clock that jumps, here or on a node, never makes a node older.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.fleet.eligibility import derive_ineligibility, signing_version
from controlplane.fleet.geography import distance_km, expected_rtt_milliseconds
from controlplane.fleet.health import Verdict, derive_health
from controlplane.fleet.ice_urls import stun_urls, turn_urls
from controlplane.fleet.in_flight import Placements
from controlplane.fleet.load import SafeCapacity, refusing_utilisation, safe_capacities, utilisation
from controlplane.fleet.model import Health, Ineligibility, Node, NodeRecord, Region
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import RankedRegion
from controlplane.fleet.table import Contender, FleetTable, RegionTable

_RANKINGS_KEPT = 4096
"""Distinct caller places remembered: a country database has about 250, a city one repeats its big cities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """Everything there is to say about one node at one instant."""

    node: Node
    record: NodeRecord | None
    age_seconds: float | None
    verdict: Verdict
    ineligibility: tuple[Ineligibility, ...]
    utilisation: float
    """With placements in flight; 0 when it never reported."""
    refusing_utilisation: float
    """What refusing is decided by: less than the above."""
    safe: SafeCapacity | None

    @property
    def eligible(self) -> bool:
        return not self.ineligibility


@dataclass(slots=True)
class FleetView:
    """Mutable; owned by one event loop. `rebuild` makes the table that selection reads."""

    policy: Policy
    regions: dict[str, Region] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    records: dict[str, NodeRecord] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    placements: dict[str, Placements] = field(default_factory=lambda: defaultdict(Placements))
    blind_since: float | None = None
    """Since when this replica cannot read the others' reports."""
    table: FleetTable = field(default_factory=lambda: FleetTable(regions={}))
    _safe: dict[str, tuple[NodeRecord, SafeCapacity]] = field(default_factory=dict)
    _rankings: dict[tuple[float, float], list[RankedRegion]] = field(default_factory=dict)

    @property
    def interval_seconds(self) -> float:
        return self.policy.interval_seconds(len(self.nodes))

    def set_directory(self, regions: Iterable[Region], nodes: Iterable[Node]) -> None:
        """Replace who the nodes and regions are. What a node reported stays; what is known of a forgotten node goes."""
        self.regions = {region.slug: region for region in regions}
        # In one order everywhere, so that the same draws choose the same node on every replica.
        self.nodes = {node.node_id: node for node in sorted(nodes, key=lambda node: node.node_id)}
        for known in (self.records, self.received, self.placements, self._safe):
            for node_id in [each for each in known if each not in self.nodes]:
                del known[node_id]
        self._rankings.clear()

    def put_record(self, node_id: str, record: NodeRecord, *, received: float) -> None:
        """A report, from this replica's own ear or another's. An older one than is known changes nothing."""
        known = self.records.get(node_id)
        if known is not None and (self.received[node_id] > received or _same_report(known, record)):
            return
        self.records[node_id] = record
        self.received[node_id] = received
        if node_id in self.placements:
            self.placements[node_id].reported(received)

    def place(self, node_id: str, *, now: float, bits_per_second: float, allocations: float) -> None:
        self.placements[node_id].place(now, bits_per_second, allocations)

    def silence_held(self, now: float) -> bool:
        return self.blind_since is not None and now - self.blind_since <= self.policy.silence_hold_seconds

    def rank(self, latitude: float, longitude: float) -> list[RankedRegion]:
        """All regions by expected RTT from that place, nearest first."""
        key = (round(latitude, 1), round(longitude, 1))
        ranked = self._rankings.get(key)
        if ranked is None:
            ranked = sorted(
                (
                    RankedRegion(
                        slug=region.slug,
                        rtt_milliseconds=expected_rtt_milliseconds(
                            distance_km(latitude, longitude, region.latitude, region.longitude), policy=self.policy
                        ),
                    )
                    for region in self.regions.values()
                ),
                key=lambda each: (each.rtt_milliseconds, each.slug),
            )
            if len(self._rankings) >= _RANKINGS_KEPT:
                self._rankings.clear()
            self._rankings[key] = ranked
        return ranked

    def state(self, node: Node, *, now: float) -> NodeState:
        """What is known of one node, and what follows from it."""
        record = self.records.get(node.node_id)
        age = None if record is None else max(0.0, now - self.received[node.node_id])
        verdict = derive_health(
            record,
            age_seconds=age or 0.0,
            interval_seconds=self.interval_seconds,
            silence_held=self.silence_held(now),
            policy=self.policy,
        )
        fill, refusing, safe = 0.0, 0.0, None
        if record is not None:
            safe = self._safe_capacities(node.node_id, record)
            bits, allocations = self._in_flight(node.node_id, now)
            fill = utilisation(record.report.load, safe, in_flight_bits=bits, in_flight_allocations=allocations)
            refusing = refusing_utilisation(record.report.load, safe, in_flight_bits=bits)
        reasons = derive_ineligibility(node, record, verdict, utilisation=fill, policy=self.policy)
        return NodeState(
            node=node,
            record=record,
            age_seconds=age,
            verdict=verdict,
            ineligibility=reasons,
            utilisation=fill,
            refusing_utilisation=refusing,
            safe=safe,
        )

    def states(self, *, now: float) -> list[NodeState]:
        return [self.state(node, now=now) for node in self.nodes.values()]

    def rebuild(self, *, now: float, wall: datetime) -> FleetTable:
        """Derive everything anew and make it the table that selection reads. `wall` is for slow start alone."""
        members: dict[str, list[NodeState]] = {slug: [] for slug in self.regions}
        for node in self.nodes.values():
            if node.region in members:
                members[node.region].append(self.state(node, now=now))
        self.table = FleetTable(
            regions={slug: self._region_table(self.regions[slug], states, now, wall) for slug, states in members.items()},
            held=self.silence_held(now),
        )
        return self.table

    def _region_table(self, region: Region, states: list[NodeState], now: float, wall: datetime) -> RegionTable:
        placeable = [state for state in states if set(state.ineligibility) <= {Ineligibility.SATURATED}]
        best = [state for state in placeable if state.verdict.health is Health.UP] or placeable
        usable = [state for state in best if state.eligible] or [
            state for state in best if state.refusing_utilisation < self.policy.overload_limit_utilisation
        ]
        return RegionTable(
            region=region,
            online=any(state.verdict.health in {Health.UP, Health.SUSPECT} for state in states),
            saturated=bool(placeable),
            contenders=tuple(self._contender(state, now, wall) for state in usable),
        )

    def _contender(self, state: NodeState, now: float, wall: datetime) -> Contender:
        record, safe, policy = state.record, state.safe, self.policy
        version = signing_version(state.node, record)
        if record is None or safe is None or version is None:
            raise ValueError(f"Node {state.node.node_id} was called eligible without a report or a secret.")
        bits, allocations = self._in_flight(state.node.node_id, now)
        proved = 0.0 if record.proved_at is None else (wall - record.proved_at).total_seconds()
        return Contender(
            node_id=state.node.node_id,
            stun_urls=stun_urls(record.report.listeners),
            turn_urls=turn_urls(record.report.listeners, limit=policy.max_turn_urls),
            secret_version=version,
            safe_bits_per_second=safe.bits_per_second,
            safe_allocations=safe.allocations,
            bits_per_second=record.report.load.bits_per_second + bits,
            allocations=record.report.load.allocations + allocations,
            reported_allocations=record.report.load.allocations,
            packet_utilisation=record.report.load.packets_per_second / safe.packets_per_second,
            cpu_utilisation=record.report.load.cpu_ratio / safe.cpu_ratio,
            slow_start=min(
                1.0, policy.slow_start_floor + (1 - policy.slow_start_floor) * max(0.0, proved) / policy.slow_start_seconds
            ),
        )

    def _safe_capacities(self, node_id: str, record: NodeRecord) -> SafeCapacity:
        cached = self._safe.get(node_id)
        if cached is not None and (cached[0] is record or cached[0].report.capacity == record.report.capacity):
            return cached[1]
        safe = safe_capacities(record.report.capacity, policy=self.policy)
        self._safe[node_id] = (record, safe)
        return safe

    def _in_flight(self, node_id: str, now: float) -> tuple[float, float]:
        placements = self.placements.get(node_id)
        if placements is None:
            return 0.0, 0.0
        return placements.in_flight(now, last_report_at=self.received.get(node_id, now))


def _same_report(known: NodeRecord, other: NodeRecord) -> bool:
    """The same heartbeat again, or an earlier one of the same run of the agent."""
    return known.report.boot_id == other.report.boot_id and other.report.sequence <= known.report.sequence


def nodes_by_region(states: Iterable[NodeState]) -> Mapping[str, list[NodeState]]:
    grouped: dict[str, list[NodeState]] = defaultdict(list)
    for state in states:
        grouped[state.node.region].append(state)
    return grouped
