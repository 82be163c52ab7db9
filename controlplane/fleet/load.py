"""How full a node is: safe capacity, and utilisation as the fullest of its resources."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.fleet.model import Capacity, Load
from controlplane.fleet.policy import Policy

_SMALLEST = 1e-3
"""Nothing is divided by zero, whatever a node states."""


def safe_capacity(capacity: float, *, burst: float, deviations: float) -> float:
    """S(C) = (sqrt(h^2 + C) - h)^2 with h = z sqrt(beta) / 2, in the unit of `capacity` and `burst`.

    The mean load at which mean + z standard deviations just fits, for a sum of many independent sessions whose
    E[b^2]/E[b] is `burst`: their variance is burst x mean (compound Poisson). Small nodes keep more headroom:
    with 4.3 Mbit/s, 250 -> 193 and 5000 -> 4716 Mbit/s.
    """
    half = deviations * math.sqrt(burst) / 2
    return max(_SMALLEST, float((math.sqrt(half * half + capacity) - half) ** 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeCapacity:
    """What a node may carry on average, per resource."""

    bits_per_second: float
    allocations: float
    packets_per_second: float
    cpu_ratio: float


def safe_capacities(capacity: Capacity, *, policy: Policy) -> SafeCapacity:
    """Bits by session bursts; allocations as a plain Poisson count (burst 1); packets scaled like the bits."""
    bits = safe_capacity(capacity.bits_per_second, burst=policy.session_burst_bits_per_second, deviations=policy.safety_deviations)
    packets = math.inf
    if capacity.packets_per_second is not None:
        packets = capacity.packets_per_second * bits / capacity.bits_per_second
    return SafeCapacity(
        bits_per_second=bits,
        allocations=safe_capacity(capacity.allocations, burst=1.0, deviations=policy.safety_deviations),
        packets_per_second=packets,
        cpu_ratio=policy.cpu_limit_ratio,
    )


def utilisation(load: Load, safe: SafeCapacity, *, in_flight_bits: float = 0.0, in_flight_allocations: float = 0.0) -> float:
    """The fullest resource, 0 … 1 and beyond: (reported + in flight) / safe capacity."""
    return max(
        (load.bits_per_second + in_flight_bits) / safe.bits_per_second,
        (load.allocations + in_flight_allocations) / safe.allocations,
        load.packets_per_second / safe.packets_per_second,
        load.cpu_ratio / safe.cpu_ratio,
    )


def refusing_utilisation(load: Load, safe: SafeCapacity, *, in_flight_bits: float = 0.0) -> float:
    """What refusing is decided by: the same without the CPU, and without allocations that nobody has made yet.

    The CPU is the whole host's, and may be busy with something else; how many credentials become allocations differs by a
    factor of ten between applications, and coturn itself refuses the one too many. Both make a node the worse choice, and not
    eligible while there is a better one; but a relay that may be full beats an answer of 503.
    """
    return max(
        (load.bits_per_second + in_flight_bits) / safe.bits_per_second,
        load.allocations / safe.allocations,
        load.packets_per_second / safe.packets_per_second,
    )
