"""What nodes and regions carried and how they were over time, for charts. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from controlplane.wire.events_api import FleetEventView
from controlplane.wire.tenants_api import Instant


class HistoryQuery(Struct, frozen=True, kw_only=True):
    """GET /fleet/nodes/{node_id}/history, GET /fleet/regions/{slug}/history."""

    since: Instant | None = field(default=None, name="from")
    """None: a day before `to`."""
    until: Instant | None = field(default=None, name="to")
    """None: now."""


class NodeHistoryPoint(Struct, frozen=True, kw_only=True):
    """One step. What the node carried is the mean of its reports, `max_…` the highest of them; null: no report was fresh."""

    at: datetime
    """When the step begins."""
    health: str
    """The worst that was seen in the step, with its reason."""
    health_reason: str
    intent: str
    """The last one."""
    eligible_ratio: float
    """For how much of the step it took new clients, 0 … 1."""
    receive_bits_per_second: float | None
    transmit_bits_per_second: float | None
    receive_packets_per_second: float | None
    transmit_packets_per_second: float | None
    allocations: float | None
    cpu_ratio: float | None
    memory_ratio: float | None
    utilisation: float | None
    max_bits_per_second: float | None
    """In the busier direction."""
    max_allocations: float | None
    max_cpu_ratio: float | None
    max_utilisation: float | None


class RegionHistoryPoint(Struct, frozen=True, kw_only=True):
    """One step: sums over the region's nodes, as the mean over the step."""

    at: datetime
    """When the step begins."""
    operational_ratio: float
    """For how much of the step the region took new clients, 0 … 1."""
    nodes: float
    up_nodes: float
    eligible_nodes: float
    min_eligible_nodes: float
    """The fewest at any time of the step."""
    receive_bits_per_second: float
    transmit_bits_per_second: float
    receive_packets_per_second: float
    transmit_packets_per_second: float
    allocations: float
    utilisation: float | None
    """Of the nodes that took clients; null: none did."""
    max_bits_per_second: float
    max_allocations: float
    max_utilisation: float | None


class NodeHistory(Struct, frozen=True, kw_only=True):
    node_id: str
    name: str
    region: str
    since: datetime = field(name="from")
    """As asked for, but not before what is kept, and at the begin of a step."""
    until: datetime = field(name="to")
    step_seconds: int
    """How long each point's step is: so long that there are at most 500."""
    points: list[NodeHistoryPoint]
    """The oldest first. A step of which nothing is known is not there."""
    events: list[FleetEventView]
    """What happened to the node in that time, to the second; the oldest first, at most the newest 500."""
    events_left_out: bool
    """There were more than 500."""


class RegionHistory(Struct, frozen=True, kw_only=True):
    slug: str
    since: datetime = field(name="from")
    """As asked for, but not before what is kept, and at the begin of a step."""
    until: datetime = field(name="to")
    step_seconds: int
    """How long each point's step is: so long that there are at most 500."""
    points: list[RegionHistoryPoint]
    """The oldest first. A step of which nothing is known is not there."""
    events: list[FleetEventView]
    """When the region began and stopped to take new clients; the oldest first, at most the newest 500."""
    events_left_out: bool
    """There were more than 500."""
