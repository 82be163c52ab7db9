"""One replica's picture of the fleet in memory: who the nodes are, what they last reported, what was placed since.

Holds no clock: every method takes `now`, monotonic seconds of one process. All ages are on that clock, so that a wall
clock that jumps, here or on a node, never makes a node older.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from controlplane.fleet.columns import Columns
from controlplane.fleet.conversion import Conversion
from controlplane.fleet.geography import distance_km, expected_rtt_milliseconds
from controlplane.fleet.heartbeat import is_stale
from controlplane.fleet.in_flight import Increment
from controlplane.fleet.model import Node, NodeRecord, Region
from controlplane.fleet.node_state import Instant, NodeState, counting
from controlplane.fleet.outside import Outside, ProberPlace
from controlplane.fleet.policy import Policy
from controlplane.fleet.rebuild import Derived, Flags, derive, make_table
from controlplane.fleet.selection import RankedRegion, Weight
from controlplane.fleet.silence import Silence
from controlplane.fleet.table import FleetTable

_RANKINGS_KEPT = 4096
"""Distinct caller places remembered: a country database has about 250, a city one repeats its big cities."""
_STRANGERS_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What one replica placed on a node while a certain report was the newest that it knew."""

    node_id: str
    report: int
    """See in_flight.report_key()."""
    bits_per_second: float
    allocations: float
    uses: float


class FleetView:
    """Mutable; owned by one event loop. `rebuild` makes the table that selection reads."""

    def __init__(self, *, policy: Policy) -> None:
        self.policy = policy
        self.regions: dict[str, Region] = {}
        self.nodes: dict[str, Node] = {}
        self.columns = Columns([], [], policy=policy)
        self.silence = Silence(policy=policy)
        self.conversion = Conversion()
        self.seen_at: float | None = None
        """Up to when the other replicas' reports are known here; None: up to now."""
        self.own_factor = 1.0
        """What this replica's own placements stand for: more than 1 while the others' cannot be read."""
        self.outside: dict[str, tuple[Outside, float]] = {}
        """What was seen of each node from outside, and when that was received."""
        self.prober: tuple[ProberPlace, float] | None = None
        """How the place fares that nodes are tried from."""
        self.table = FleetTable()
        self._derived = Derived.of(self.columns)
        self._strangers: dict[str, tuple[NodeRecord, float]] = {}
        self._rankings: dict[tuple[float, float], list[RankedRegion]] = {}

    @property
    def interval_seconds(self) -> float:
        return self.policy.interval_seconds(len(self.nodes))

    def set_directory(self, regions: Iterable[Region], nodes: Iterable[Node]) -> None:
        """Replace who the nodes and regions are. What a node reported stays; what is known of a forgotten node goes."""
        self.regions = {region.slug: region for region in regions}
        self.nodes = {node.node_id: node for node in sorted(nodes, key=lambda node: node.node_id)}
        before = self.columns
        self.columns = Columns(self.nodes.values(), sorted(self.regions), policy=self.policy)
        self.columns.take_over(before)
        for node_id, (outside, received) in self.outside.items():
            if (place := self.columns.place_of.get(node_id)) is not None:
                self.columns.put_outside(place, outside, received=received)
        for node_id in [each for each in self._strangers if each in self.columns.place_of]:
            record, received = self._strangers.pop(node_id)
            self.put_record(node_id, record, received=received)
        self._derived = Derived.of(self.columns)
        self._rankings.clear()

    def record(self, node_id: str) -> NodeRecord | None:
        """The node's newest report."""
        place = self.columns.place_of.get(node_id)
        return None if place is None else self.columns.records[place]

    def received_at(self, node_id: str) -> float | None:
        """When it was received."""
        place = self.columns.place_of.get(node_id)
        return None if place is None or self.columns.records[place] is None else float(self.columns.received_at[place])

    def records(self) -> dict[str, NodeRecord]:
        """The newest report of every node that has one."""
        return {
            node.node_id: record
            for node, record in zip(self.columns.nodes, self.columns.records, strict=True)
            if record is not None
        }

    def put_record(self, node_id: str, record: NodeRecord, *, received: float) -> None:
        """A report, from this replica's own ear or another's. An older one than is known changes nothing."""
        place = self.columns.place_of.get(node_id)
        if place is None:
            # Of a node that was made a moment ago, or before the directory was read at all: kept until it is known.
            self._strangers.pop(node_id, None)
            self._strangers[node_id] = (record, received)
            if len(self._strangers) > _STRANGERS_KEPT:
                del self._strangers[next(iter(self._strangers))]
            return
        known = self.columns.records[place]
        if known is None or not (self.columns.received_at[place] > received or is_stale(known, record.report)):
            self.columns.put(place, record, received=received)

    def put_outside(self, node_id: str, outside: Outside, *, received: float) -> None:
        """What the leader saw of a node from outside."""
        self.outside[node_id] = (outside, received)
        place = self.columns.place_of.get(node_id)
        if place is not None:
            self.columns.put_outside(place, outside, received=received)

    def drop_old_outside(self, *, now: float) -> None:
        """Of nodes that nobody tries any more."""
        kept = self.policy.outside_counts_seconds
        self.outside = {node_id: each for node_id, each in self.outside.items() if now - each[1] <= kept}

    def outside_of(self, node_id: str, *, now: float) -> Outside | None:
        """What counts still of what was seen of it from outside."""
        return counting(self.outside.get(node_id), now=now, policy=self.policy)

    def prober_place(self, *, now: float) -> ProberPlace | None:
        """None: nobody tries nodes from outside, or not lately."""
        if self.prober is None or now - self.prober[1] > self.policy.outside_counts_seconds:
            return None
        return self.prober[0]

    def _outside_counts(self, now: float) -> bool:
        place = self.prober_place(now=now)
        return place is None or not place.ours

    def reporting_well(self, *, now: float) -> list[Node]:
        """Nodes that are up by their own reports, whatever is seen from outside."""
        nodes = self.columns.nodes
        return [nodes[place] for place in np.nonzero(self._report_well(now))[0].tolist()]

    def reports_well(self, node_id: str, *, now: float) -> bool:
        place = self.columns.place_of.get(node_id)
        return place is not None and bool(self._report_well(now)[place])

    def _report_well(self, now: float) -> Flags:
        heard = now - self.columns.received_at <= self.policy.late_after_seconds(self.interval_seconds)
        return np.asarray(self.columns.standing & heard)

    def place(self, node_id: str, weight: Weight) -> None:
        """Credentials for that node were issued: they are in flight until its reports show them."""
        place = self.columns.place_of.get(node_id)
        if place is not None:
            self.columns.in_flight.place(place, weight.bits_per_second, weight.allocations, weight.uses)

    def unshared(self, limit: int) -> list[Placed]:
        """What this replica placed and the others do not know of yet; at most `limit`, the rest next time."""
        nodes = self.columns.nodes
        return [
            Placed(
                node_id=nodes[each.node].node_id,
                report=each.report,
                bits_per_second=each.bits_per_second,
                allocations=each.allocations,
                uses=each.uses,
            )
            for each in self.columns.in_flight.unshared(limit)
        ]

    def shared(self, placed: Iterable[Placed]) -> None:
        """The others know of these now."""
        self.columns.in_flight.shared(self._increments(placed))

    def told(self, placed: Iterable[Placed]) -> None:
        """What another replica placed."""
        self.columns.in_flight.told(self._increments(placed))

    def _increments(self, placed: Iterable[Placed]) -> list[Increment]:
        place_of = self.columns.place_of
        return [
            Increment(
                node=place,
                report=each.report,
                bits_per_second=each.bits_per_second,
                allocations=each.allocations,
                uses=each.uses,
            )
            for each in placed
            if (place := place_of.get(each.node_id)) is not None
        ]

    def silence_held(self, now: float) -> bool:
        """Whether some node's silence does not count now."""
        return self.silence.held_share(now=now) > 0

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

    def rebuild(self, *, now: float, wall: datetime) -> FleetTable:
        """Derive everything anew and make it the table that selection reads. `wall` is for slow start alone."""
        self._derived = derive(
            self.columns,
            self.silence,
            now=now,
            wall=wall.timestamp(),
            seen_at=now if self.seen_at is None else self.seen_at,
            interval_seconds=self.interval_seconds,
            own_factor=self.own_factor,
            outside_counts=self._outside_counts(now),
            policy=self.policy,
        )
        self.table = make_table(self.columns, self._derived, self.regions, held=self.silence_held(now), policy=self.policy)
        return self.table

    def health_counts(self) -> dict[tuple[str, str], int]:
        """How many nodes of (region, health) there were at the last rebuild."""
        return self._derived.health_counts(self.columns)

    def eligible_counts(self) -> dict[str, int]:
        """How many eligible nodes each region had at the last rebuild."""
        return self._derived.eligible_counts(self.columns, policy=self.policy)

    def state(self, node: Node, *, now: float) -> NodeState:
        """What is known of one node, and what follows from it."""
        return self._instant(now).state_of(node)

    def states(self, *, now: float) -> list[NodeState]:
        """Of every node, by id."""
        return list(self.states_of(self.nodes.values(), now=now))

    def states_of(self, nodes: Iterable[Node], *, now: float) -> Iterator[NodeState]:
        """One after another, as they are now: the caller may stop early, or let others have their turn in between."""
        instant = self._instant(now)
        for node in nodes:
            yield instant.state_of(node)

    def _instant(self, now: float) -> Instant:
        columns, held_share = self.columns, self.silence.held_share(now=now)
        bits, allocations = columns.in_flight.totals(now=now, own_factor=self.own_factor)
        return Instant(
            now=now,
            policy=self.policy,
            interval_seconds=self.interval_seconds,
            place_of=columns.place_of,
            records=columns.records.copy(),
            safe=columns.safe.copy(),
            received_at=columns.received_at.tolist(),
            held=(columns.release_order < held_share).tolist(),
            suspected=(columns.suspected_until > now).tolist(),
            outside=self.outside.copy(),
            outside_counts=self._outside_counts(now),
            bits_per_second=bits.tolist(),
            allocations=allocations.tolist(),
        )
