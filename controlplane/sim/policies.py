"""Policies to compare with: what others do, and what one would write first. None of it is used by the product."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import numpy as np

from controlplane.sim.oracle import Oracle
from controlplane.sim.placer import Omniscient, Placer
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Changes, Floats, Integers
from controlplane.sim.snapshot import Candidates, SnapshotPolicy
from controlplane.sim.turnfleet import Turnfleet
from controlplane.sim.workload import Workload

_LIVEKIT_LIMIT = 0.9
"""LiveKit's `sysload_limit`."""
_JICOFO_WINDOW_SECONDS = 20.0
"""jicofo's participant ramp-up interval."""


class RandomChoice(SnapshotPolicy):
    """Uniform over the eligible hosts."""

    name = "random"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        hosts = candidates.hosts
        return hosts[int(self.draws[replica].random() * len(hosts))]


class WeightedRandom(SnapshotPolicy):
    """In proportion to capacity."""

    name = "weighted-random"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        return draw_by_capacity(candidates, self.draws[replica].random())


class RoundRobin(SnapshotPolicy):
    """In turns; the replicas start spread over the list."""

    name = "round-robin"

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        super().__init__(scenario, workload, seed)
        self._next = [replica * len(self.fleet.hosts) // scenario.replicas for replica in range(scenario.replicas)]

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        self._next[replica] += 1
        return candidates.hosts[self._next[replica] % len(candidates.hosts)]


class LeastLoaded(SnapshotPolicy):
    """The lowest reported load over capacity of all."""

    name = "least-loaded"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        if not candidates.best:
            candidates.best = [min(candidates.hosts, key=lambda host: self.fill(replica, host))]
        return candidates.best[0]


class LiveKitLowest(SnapshotPolicy):
    """LiveKit's `algorithm: lowest` by traffic: the lowest reported load of all, whatever the host's size."""

    name = "livekit-lowest"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        if not candidates.best:
            candidates.best = [min(candidates.hosts, key=self.reported[replica].__getitem__)]
        return candidates.best[0]


class LiveKitSysload(SnapshotPolicy):
    """LiveKit's `sysload` selector with its default order: uniform over those below 0.9, over all when there is none."""

    name = "livekit-like"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        if not candidates.best:
            below = [host for host in candidates.hosts if self.fill(replica, host) < _LIVEKIT_LIMIT]
            candidates.best = below or candidates.hosts
        return candidates.best[int(self.draws[replica].random() * len(candidates.best))]


class TwoChoice(SnapshotPolicy):
    """The emptier of two drawn uniformly, by their reports; as LiveKit's `twochoice`."""

    name = "two-choice"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        draw, hosts = self.draws[replica].random, candidates.hosts
        one, other = hosts[int(draw() * len(hosts))], hosts[int(draw() * len(hosts))]
        return one if self.fill(replica, one) <= self.fill(replica, other) else other


class TwoChoiceByCapacity(SnapshotPolicy):
    """The emptier of two drawn in proportion to capacity."""

    name = "two-choice-by-capacity"

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        draw = self.draws[replica].random
        one, other = draw_by_capacity(candidates, draw()), draw_by_capacity(candidates, draw())
        return one if self.fill(replica, one) <= self.fill(replica, other) else other


class JicofoLike(SnapshotPolicy):
    """The lowest of all by reported load plus what this replica itself placed in the last 20 s."""

    name = "jicofo-like"

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        super().__init__(scenario, workload, seed)
        self._recent: list[deque[tuple[float, int]]] = [deque() for _ in range(scenario.replicas)]
        self._placed = [np.zeros(len(self.capacities)) for _ in range(scenario.replicas)]
        self._weight = scenario.traffic.relayed_bits_per_second_per_request
        self._inverse = 1 / np.array(self.capacities)
        self._fills: dict[int, tuple[Candidates, Integers, Floats]] = {}

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        recent, placed = self._recent[replica], self._placed[replica]
        while recent and recent[0][0] < now - _JICOFO_WINDOW_SECONDS:
            placed[recent.popleft()[1]] -= self._weight
        known = self._fills.get(replica)
        if known is None or known[0] is not candidates or not candidates.best:
            hosts = np.array(candidates.hosts)
            known = (candidates, hosts, np.array(self.reported[replica])[hosts])
            self._fills[replica] = known
            candidates.best = candidates.hosts  # any mark will do: it says that the reports are taken in
        _, hosts, reported = known
        host = int(hosts[np.argmin((reported + placed[hosts]) * self._inverse[hosts])])
        placed[host] += self._weight
        recent.append((now, host))
        return host


class EnvoyLike(SnapshotPolicy, Omniscient):
    """Envoy's weighted least request: drawn in proportion to capacity / (active + 1), of this replica's own live sessions."""

    name = "envoy-like"

    def __init__(self, scenario: Scenario, workload: Workload, seed: int) -> None:
        super().__init__(scenario, workload, seed)
        self._size = np.array(self.capacities)
        # The last column is for sessions that were refused.
        self._active = np.zeros((scenario.replicas, len(self.capacities) + 1))

    def began(self, hosts: Integers, rates: Floats) -> None:
        np.add.at(self._active, (self.workload.replica[: len(hosts)], hosts), 1)

    def changed(self, changes: Changes, part: slice, hosts: Integers) -> None:
        ends = changes.ends[part]
        if ends.any():
            np.subtract.at(self._active, (self.workload.replica[changes.request[part][ends]], hosts[ends]), 1)

    def hosts_changed(self, alive: list[bool]) -> None:
        pass

    def choose(self, replica: int, candidates: Candidates, request: int, now: float) -> int:
        hosts = candidates.hosts
        cumulative = np.cumsum(self._size[hosts] / (self._active[replica][hosts] + 1))
        index = int(np.searchsorted(cumulative, self.draws[replica].random() * cumulative[-1], "right"))
        host = hosts[min(index, len(hosts) - 1)]
        if self.workload.relays[request]:
            self._active[replica, host] += 1
        return host


def draw_by_capacity(candidates: Candidates, draw: float) -> int:
    cumulative = candidates.cumulative
    return candidates.hosts[min(bisect_right(cumulative, draw * cumulative[-1]), len(cumulative) - 1)]


ALL: tuple[type[Placer], ...] = (
    Turnfleet,
    Oracle,
    RandomChoice,
    WeightedRandom,
    RoundRobin,
    LeastLoaded,
    TwoChoice,
    TwoChoiceByCapacity,
    LiveKitSysload,
    LiveKitLowest,
    JicofoLike,
    EnvoyLike,
)
POLICIES: dict[str, type[Placer]] = {policy.name: policy for policy in ALL}
"""By name, ours first."""
