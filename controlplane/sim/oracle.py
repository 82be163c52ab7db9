"""The measure for all: join the shortest queue with nothing stale, knowing the rate of each session before it begins."""

from __future__ import annotations

import numpy as np

from controlplane.sim.placer import REFUSED, Omniscient
from controlplane.sim.reports import Sample
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Changes, Floats, Integers
from controlplane.sim.workload import Workload


class Oracle(Omniscient):
    """The living host of the caller's region (of any, when it has none) that is least full with this session, by the sum of the
    rates that its sessions are heading for."""

    name = "oracle"

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        super().__init__(scenario, workload, seed)
        hosts = len(self.fleet.hosts)
        self._target = np.zeros(hosts + 1)
        self._inverse = 1 / self.fleet.capacities
        self._rates: list[float] = workload.rates.tolist()
        self._members: list[Integers] = []
        self._everybody: Integers = np.arange(hosts)
        self._all = False
        """Whether everybody is one region, and nobody is away."""

    def hosts_changed(self, alive: list[bool]) -> None:
        self._everybody = np.flatnonzero(alive)
        regions = len(self.fleet.regions)
        self._members = [np.array([host for host in self.fleet.of_region(index) if alive[host]], int) for index in range(regions)]
        self._all = regions == 1 and all(alive)

    def began(self, hosts: Integers, rates: Floats) -> None:
        self._target += np.bincount(hosts, weights=rates, minlength=len(self._target))

    def changed(self, changes: Changes, part: slice, hosts: Integers) -> None:
        self._target += np.bincount(hosts, weights=changes.target[part], minlength=len(self._target))

    def heard(self, replica: int, sample: Sample) -> bool:
        return False

    def refresh(self, replica: int, now: float) -> None:
        pass

    def rebuild(self, replica: int, now: float) -> None:
        pass

    def place(self, replica: int, request: int, now: float) -> int:
        rate = self._rates[request]
        if self._all:
            host = int(((self._target[:-1] + rate) * self._inverse).argmin())
        else:
            demand = self.demands[request]
            members = self._members[self.region_of_demand[demand]]
            if not len(members):
                if self.fixed_of_demand[demand] is not None or not len(self._everybody):
                    return REFUSED
                members = self._everybody
            host = int(members[((self._target[members] + rate) * self._inverse[members]).argmin()])
        self._target[host] += rate
        return host
