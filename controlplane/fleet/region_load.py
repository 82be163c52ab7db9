"""What the nodes of a region carry together, and how full those are that take clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.fleet.node_state import NodeState


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionLoad:
    bits_per_second: float
    """By the newest reports, in each node's busier direction."""
    allocations: int
    eligible_nodes: int
    safe_bits_per_second: float
    """Of the eligible nodes."""
    utilisation: float | None
    """Load over safe capacity of the eligible nodes, placements in flight included; None when there is none."""


def region_load(states: Sequence[NodeState]) -> RegionLoad:
    serving = [state for state in states if state.eligible and state.safe is not None and state.record is not None]
    carried = sum(state.utilisation * state.safe.bits_per_second for state in serving if state.safe is not None)
    safe = sum(state.safe.bits_per_second for state in serving if state.safe is not None)
    return RegionLoad(
        bits_per_second=sum(state.record.report.load.bits_per_second for state in states if state.record is not None),
        allocations=sum(state.record.report.load.allocations for state in states if state.record is not None),
        eligible_nodes=len(serving),
        safe_bits_per_second=safe,
        utilisation=carried / safe if safe else None,
    )
