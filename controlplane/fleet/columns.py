"""What is known of all nodes, as arrays: so that deriving everything anew, twice a second, takes milliseconds for 10,000 of them.

A node's place in the arrays is by region, then by id: the same on every replica, and a region's nodes stand together. What a report
alone decides is derived once, when it arrives, by the same functions that explain a single node; what its age decides is left
to whoever rebuilds. Times are monotonic seconds of one process, but for `proved_at`, which is Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.fleet.eligibility import derive_ineligibility, signing_version
from controlplane.fleet.health import derive_health
from controlplane.fleet.ice_urls import stun_urls, turn_urls
from controlplane.fleet.in_flight import NEVER, InFlight, report_key
from controlplane.fleet.load import SafeCapacity, safe_capacities
from controlplane.fleet.model import Health, Node, NodeRecord
from controlplane.fleet.outside import Outside
from controlplane.fleet.policy import Policy
from controlplane.fleet.silence import release_order

HEALTHS = tuple(Health)
"""A health's number in the arrays is its place here."""
_CODE = {health: number for number, health in enumerate(HEALTHS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What a selected node's credentials are made from."""

    node_id: str
    stun_urls: list[str]
    turn_urls: list[str]
    secret_version: int
    secret_key: str | None
    """The id of the master key that it comes from, as Node.key_of says it."""


class Columns:
    """Fields are arrays with one element per node, lists where they hold objects."""

    def __init__(self, nodes: Iterable[Node], regions: Sequence[str], *, policy: Policy) -> None:
        self.policy = policy
        self.regions = list(regions)
        number = {slug: place for place, slug in enumerate(self.regions)}
        self.nodes = sorted((node for node in nodes if node.region in number), key=lambda node: (number[node.region], node.node_id))
        self.place_of = {node.node_id: place for place, node in enumerate(self.nodes)}
        size = len(self.nodes)
        self.release_order = release_order([node.node_id for node in self.nodes])
        self.region = np.array([number[node.region] for node in self.nodes], np.intp)
        self.records: list[NodeRecord | None] = [None] * size
        self.safe: list[SafeCapacity | None] = [None] * size
        self.contenders: NDArray[np.object_] = np.full(size, None)
        """A Contender, or None where no secret may sign."""
        self.received_at = np.full(size, NEVER)
        self.health_when_heard = np.full(size, _CODE[Health.UNKNOWN], np.int8)
        self.fit = np.zeros(size, bool)
        """Eligible, but for its health and its load."""
        self.bits_per_second = np.zeros(size)
        self.allocations = np.zeros(size)
        self.firm_fill = np.zeros(size)
        """The fuller of packets and reported allocations."""
        self.other_fill = np.zeros(size)
        """The fuller of packets and CPU."""
        self.safe_bits_per_second = np.ones(size)
        self.safe_allocations = np.ones(size)
        self.proved_at = np.full(size, np.inf)
        self.in_flight = InFlight(size)
        self.allocated_at = np.full(size, np.inf)
        """When a report last showed a new allocation. Infinite where the agent does not count them."""
        self.suspicions = np.zeros(size, np.int32)
        self.suspected_until = np.full(size, NEVER)
        self.condemned = np.zeros(size, bool)
        """By what was seen from outside, at this time:"""
        self.outside_at = np.full(size, NEVER)

    @property
    def standing(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Would be up if it was heard just now."""
        return np.asarray(self.health_when_heard == _CODE[Health.UP])

    def take_over(self, other: Columns) -> None:
        """What is known of nodes that stay, when the directory changes."""
        pairs = [
            (there, here)
            for here, node in enumerate(self.nodes)
            if (there := other.place_of.get(node.node_id)) is not None and other.records[there] is not None
        ]
        self.in_flight.taken_over(other.in_flight, pairs)
        for there, here in pairs:
            self.received_at[here] = other.received_at[there]
            self.allocated_at[here] = other.allocated_at[there]
            self.suspicions[here] = other.suspicions[there]
            self.suspected_until[here] = other.suspected_until[there]
            if self.nodes[here] == other.nodes[there]:
                self._copy(other, there, here)
            else:
                self._derive(here, other.records[there])

    def put_outside(self, place: int, outside: Outside, *, received: float) -> None:
        self.condemned[place] = outside.reason is not None
        self.outside_at[place] = received

    def put(self, place: int, record: NodeRecord, *, received: float) -> None:
        """A newer report of that node than is known."""
        before = self.records[place]
        self.received_at[place] = received
        self.in_flight.reported(
            place,
            report_key(record.report.boot_id, record.report.sequence),
            received,
            unshown_since=float(self.allocated_at[place]),
        )
        started = record.report.allocations_started
        if started is None:
            self.allocated_at[place] = np.inf
            self.in_flight.retired_uses[place] = 0.0
        elif before is None or _count_of(before) != _count_of(record) or _grew(before, record):
            self.allocated_at[place] = received
            self.in_flight.retired_uses[place] = 0.0
            self.suspicions[place] = 0
            self.suspected_until[place] = NEVER
        self._derive(place, record)

    def _derive(self, place: int, record: NodeRecord | None) -> None:
        if record is None:
            return
        node, before, policy = self.nodes[place], self.records[place], self.policy
        report = record.report
        verdict = derive_health(record, age_seconds=0.0, interval_seconds=policy.heartbeat_interval_seconds, policy=policy)
        version = signing_version(node, record)
        key = None if version is None else node.key_of(version)
        safe = self.safe[place]
        if safe is None or before is None or before.report.capacity != report.capacity:
            safe = self.safe[place] = safe_capacities(report.capacity, policy=policy)
            self.safe_bits_per_second[place] = safe.bits_per_second
            self.safe_allocations[place] = safe.allocations
        known = self.contenders[place]
        if version is None:
            self.contenders[place] = None
        elif (
            known is None
            or (known.secret_version, known.secret_key) != (version, key)
            or before is None
            or before.report.listeners != report.listeners
        ):
            self.contenders[place] = Contender(
                node_id=node.node_id,
                stun_urls=stun_urls(report.listeners),
                turn_urls=turn_urls(report.listeners, limit=policy.max_turn_urls),
                secret_version=version,
                secret_key=key,
            )
        self.records[place] = record
        self.health_when_heard[place] = _CODE[verdict.health]
        unfit = derive_ineligibility(node, record, verdict, utilisation=0.0, policy=policy)
        self.fit[place] = all(reason.value in {Health.UNKNOWN.value, Health.DOWN.value} for reason in unfit)
        if self.fit[place] and version is None:
            raise ValueError(f"Node {node.node_id} has no secret that may sign, and was called eligible.")
        self.bits_per_second[place] = report.load.bits_per_second
        self.allocations[place] = report.load.allocations
        packets = report.load.packets_per_second / safe.packets_per_second
        self.firm_fill[place] = max(packets, report.load.allocations / safe.allocations)
        self.other_fill[place] = max(packets, report.load.cpu_ratio / safe.cpu_ratio)
        self.proved_at[place] = np.inf if record.proved_at is None else record.proved_at.timestamp()

    def _copy(self, other: Columns, there: int, here: int) -> None:
        self.records[here] = other.records[there]
        self.safe[here] = other.safe[there]
        self.contenders[here] = other.contenders[there]
        for mine, theirs in (
            (self.health_when_heard, other.health_when_heard),
            (self.fit, other.fit),
            (self.bits_per_second, other.bits_per_second),
            (self.allocations, other.allocations),
            (self.firm_fill, other.firm_fill),
            (self.other_fill, other.other_fill),
            (self.safe_bits_per_second, other.safe_bits_per_second),
            (self.safe_allocations, other.safe_allocations),
            (self.proved_at, other.proved_at),
        ):
            mine[here] = theirs[there]


def _grew(before: NodeRecord, record: NodeRecord) -> bool:
    """Somebody did come through, whatever the agent counts: it may be unable to read coturn's log."""
    return record.report.load.allocations > before.report.load.allocations


def _count_of(record: NodeRecord) -> tuple[str, str | None, int | None]:
    """An agent or a coturn that has just begun may count from zero again."""
    return record.report.boot_id, record.report.coturn_boot_id, record.report.allocations_started
