"""The simulated hosts: regions and nodes of unequal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.fleet.load import safe_capacity
from controlplane.fleet.model import Node, Region
from controlplane.fleet.policy import Policy

_SIZES = ((0.25, 250e6), (0.50, 500e6), (0.80, 1000e6), (0.95, 2000e6), (1.00, 5000e6))
"""(quantile up to which, capacity in bits per second): what is rented by the month and what is owned, side by side; 20 to 1."""

FRANKFURT = Region(slug="eu-central", name="Europe", city="Frankfurt", country="DE", latitude=50.11, longitude=8.68)
PARIS = Region(slug="eu-west", name="Western Europe", city="Paris", country="FR", latitude=48.86, longitude=2.35)
ASHBURN = Region(slug="us-east", name="US East", city="Ashburn", country="US", latitude=39.04, longitude=-77.49)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A relay host as it is, not as it is known."""

    name: str
    region: int
    """Index among the fleet's regions."""
    capacity_bits_per_second: float
    capacity_allocations: int = 16_384
    """coturn's default range of relay ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimFleet:
    regions: tuple[Region, ...]
    hosts: tuple[Host, ...]

    @property
    def capacities(self) -> NDArray[np.float64]:
        """Bits per second, one per host."""
        return np.array([host.capacity_bits_per_second for host in self.hosts])

    def safe_capacities(self, policy: Policy) -> NDArray[np.float64]:
        """Bits per second that each host may carry on average, as selection has it."""
        burst, deviations = policy.session_burst_bits_per_second, policy.safety_deviations
        return np.array([safe_capacity(each.capacity_bits_per_second, burst=burst, deviations=deviations) for each in self.hosts])

    @property
    def total_bits_per_second(self) -> float:
        return sum(host.capacity_bits_per_second for host in self.hosts)

    def of_region(self, region: int) -> list[int]:
        return [index for index, host in enumerate(self.hosts) if host.region == region]

    def nearest_to(self, capacity_bits_per_second: float) -> int:
        """The host whose capacity comes nearest."""
        distances = [abs(host.capacity_bits_per_second - capacity_bits_per_second) for host in self.hosts]
        return distances.index(min(distances))

    def nodes(self) -> list[Node]:
        """The hosts as an operator's directory lists them."""
        return [Node(node_id=host.name, name=host.name, region=self.regions[host.region].slug) for host in self.hosts]


def mixed_fleet(nodes: int, regions: Sequence[Region] = (FRANKFURT,)) -> SimFleet:
    """`nodes` hosts of the sizes above, each region with the same mix as far as the numbers allow."""
    hosts = []
    for index in range(nodes):
        quantile = (index + 0.5) / nodes
        capacity = next(size for upto, size in _SIZES if quantile < upto)
        hosts.append(Host(name=f"node-{index:05d}", region=index % len(regions), capacity_bits_per_second=capacity))
    return SimFleet(regions=tuple(regions), hosts=tuple(hosts))
