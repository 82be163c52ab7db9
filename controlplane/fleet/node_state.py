"""Everything there is to say about nodes at one instant: what is known of each, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.fleet.eligibility import derive_ineligibility
from controlplane.fleet.health import Verdict, derive_health
from controlplane.fleet.load import SafeCapacity, refusing_utilisation, utilisation
from controlplane.fleet.model import Ineligibility, Node, NodeRecord
from controlplane.fleet.outside import Outside
from controlplane.fleet.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node."""

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
    outside: Outside | None = None
    """What was seen of it from outside in the last minutes."""
    outside_age_seconds: float | None = None

    @property
    def eligible(self) -> bool:
        return not self.ineligibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """What all nodes' states are made from, by place: lists, whose elements cost a tenth of an array's.

    Copies, so that the states can be made one after another while the view goes on. Ages are on its clock.
    """

    now: float
    policy: Policy
    interval_seconds: float
    place_of: Mapping[str, int]
    records: list[NodeRecord | None]
    safe: list[SafeCapacity | None]
    received_at: list[float]
    held: list[bool]
    suspected: list[bool]
    outside: Mapping[str, tuple[Outside, float]]
    outside_counts: bool
    bits_per_second: list[float]
    """In flight, like the allocations."""
    allocations: list[float]

    def state_of(self, node: Node) -> NodeState:
        place = self.place_of.get(node.node_id)
        record = None if place is None else self.records[place]
        if place is None or record is None:
            return self._never_reported(node)
        age = max(0.0, self.now - self.received_at[place])
        kept = self.outside.get(node.node_id)
        outside = counting(kept, now=self.now, policy=self.policy)
        verdict = derive_health(
            record,
            age_seconds=age,
            interval_seconds=self.interval_seconds,
            silence_held=self.held[place],
            unproductive=self.suspected[place],
            outside=outside if self.outside_counts else None,
            policy=self.policy,
        )
        safe = self.safe[place]
        if safe is None:
            raise ValueError(f"Node {node.node_id} has a report and no capacity.")
        load, bits = record.report.load, self.bits_per_second[place]
        fill = utilisation(load, safe, in_flight_bits=bits, in_flight_allocations=self.allocations[place])
        return NodeState(
            node=node,
            record=record,
            age_seconds=age,
            verdict=verdict,
            ineligibility=derive_ineligibility(node, record, verdict, utilisation=fill, policy=self.policy),
            utilisation=fill,
            refusing_utilisation=refusing_utilisation(load, safe, in_flight_bits=bits),
            safe=safe,
            outside=outside,
            outside_age_seconds=None if outside is None or kept is None else max(0.0, self.now - kept[1]),
        )

    def _never_reported(self, node: Node) -> NodeState:
        verdict = derive_health(None, age_seconds=0.0, interval_seconds=self.interval_seconds, policy=self.policy)
        return NodeState(
            node=node,
            record=None,
            age_seconds=None,
            verdict=verdict,
            ineligibility=derive_ineligibility(node, None, verdict, utilisation=0.0, policy=self.policy),
            utilisation=0.0,
            refusing_utilisation=0.0,
            safe=None,
        )


def counting(kept: tuple[Outside, float] | None, *, now: float, policy: Policy) -> Outside | None:
    """What counts still of what was seen of a node from outside, which is kept with when it was received."""
    return kept[0] if kept is not None and now - kept[1] <= policy.outside_counts_seconds else None


def nodes_by_region(states: Iterable[NodeState]) -> Mapping[str, list[NodeState]]:
    grouped: dict[str, list[NodeState]] = defaultdict(list)
    for state in states:
        grouped[state.node.region].append(state)
    return grouped
