"""Fleets of many nodes and regions in memory, all up, each with a load of its own."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from controlplane.fleet.model import Node, NodeRecord, Region
from controlplane.fleet.policy import Policy
from controlplane.fleet.view import FleetView
from tests.builders import make_load, make_record, make_region, make_report


def make_regions(count: int) -> list[Region]:
    return [
        make_region(f"region-{number:03}", latitude=60 * math.sin(number), longitude=170 * math.cos(number * 3))
        for number in range(count)
    ]


def make_nodes(regions: list[Region], per_region: int) -> list[Node]:
    return [
        Node(node_id=str(UUID(int=(place << 64) + number)), name=f"{region.slug}-relay-{number:03}", region=region.slug)
        for place, region in enumerate(regions, start=1)
        for number in range(per_region)
    ]


def record_of(number: int) -> NodeRecord:
    """Different for each number."""
    bits = 1e6 * (1 + number % 613)
    load = make_load(
        receive_bits_per_second=bits,
        transmit_bits_per_second=bits * 0.97,
        receive_packets_per_second=bits / 8000,
        transmit_packets_per_second=bits / 8100,
        allocations=number % 509,
        cpu_ratio=(number % 71) / 100,
    )
    return replace(make_record(report=make_report(load=load)), received_at=datetime.now(UTC))


def make_view(regions: list[Region], nodes: list[Node]) -> FleetView:
    view = FleetView(policy=Policy())
    view.set_directory(regions, nodes)
    now = time.monotonic()
    for number, node in enumerate(nodes):
        view.put_record(node.node_id, record_of(number), received=now)
    view.rebuild(now=now, wall=datetime.now(UTC))
    return view
