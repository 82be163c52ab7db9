"""What the compared policies know: per replica the last report of every host, and which hosts are eligible by their lease."""

from __future__ import annotations

from abc import abstractmethod
from itertools import accumulate

from controlplane.sim.placer import REFUSED, Placer
from controlplane.sim.reports import Sample
from controlplane.sim.scenario import Scenario
from controlplane.sim.workload import Workload

LEASE_INTERVALS = 6.0
"""A host is eligible while its report is younger, as with the policy that they are compared to."""


class Candidates:
    """One region's eligible hosts as one replica sees them, until something is heard or read."""

    __slots__ = ("best", "cumulative", "hosts")

    def __init__(self, hosts: list[int], capacities: list[float]) -> None:
        self.hosts = hosts
        self.cumulative = list(accumulate(capacities[host] for host in hosts))
        """Of capacity, to draw by."""
        self.best: list[int] = []
        """Kept by the policy: what it chooses from now; empty: not decided yet."""


class SnapshotPolicy(Placer):
    """Chooses by the last reports. The region is the caller's own, else the nearest one with an eligible host."""

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        super().__init__(scenario, workload, seed)
        hosts, replicas = len(self.fleet.hosts), scenario.replicas
        self.capacities = [host.capacity_bits_per_second for host in self.fleet.hosts]
        self.lease_seconds = LEASE_INTERVALS * scenario.interval_seconds
        self._shared: list[tuple[float, float] | None] = [None] * hosts
        self.reported = [[0.0] * hosts for _ in range(replicas)]
        """[replica][host]: bits per second."""
        self._heard_at = [[float("-inf")] * hosts for _ in range(replicas)]
        self.candidates = [[Candidates([], []) for _ in self.fleet.regions] for _ in range(replicas)]
        self._members = [self.fleet.of_region(region) for region in range(len(self.fleet.regions))]
        self._order = [self._by_distance(region) for region in range(len(self.fleet.regions))]
        self._slugs = [region.slug for region in self.fleet.regions]

    def _by_distance(self, own: int) -> list[int]:
        here = self.fleet.regions[own]

        def squared(other: int) -> float:
            there = self.fleet.regions[other]
            return (here.latitude - there.latitude) ** 2 + (here.longitude - there.longitude) ** 2

        return sorted(range(len(self.fleet.regions)), key=squared)

    def heard(self, replica: int, sample: Sample) -> bool:
        host = sample.host
        self.reported[replica][host] = sample.bits_per_second
        self._heard_at[replica][host] = sample.at_seconds
        if replica not in self.cut_off:
            self._shared[host] = (sample.at_seconds, sample.bits_per_second)
        self.candidates[replica][self.fleet.hosts[host].region].best = []
        return False

    def refresh(self, replica: int, now: float) -> None:
        reported, heard_at = self.reported[replica], self._heard_at[replica]
        if replica not in self.cut_off:
            for host, known in enumerate(self._shared):
                if known is not None and known[0] > heard_at[host]:
                    heard_at[host], reported[host] = known
        for candidates in self.candidates[replica]:
            candidates.best = []

    def rebuild(self, replica: int, now: float) -> None:
        oldest, heard_at = now - self.lease_seconds, self._heard_at[replica]
        for region, members in enumerate(self._members):
            eligible = [host for host in members if heard_at[host] >= oldest]
            if self.candidates[replica][region].hosts != eligible:
                self.candidates[replica][region] = Candidates(eligible, self.capacities)

    def place(self, replica: int, request: int, now: float) -> int:
        demand = self.demands[request]
        fixed = self.fixed_of_demand[demand]
        for region in self._order[self.region_of_demand[demand]]:
            if fixed is not None and self._slugs[region] != fixed:
                continue
            candidates = self.candidates[replica][region]
            if candidates.hosts:
                return self.choose(replica, candidates, request, now)
        return REFUSED

    @abstractmethod
    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        """One of the candidates."""

    def fill(self, replica: int, host: int) -> float:
        """Reported load over capacity."""
        return self.reported[replica][host] / self.capacities[host]
