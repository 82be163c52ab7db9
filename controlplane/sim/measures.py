"""What is measured in a run, while it runs and at its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.fleet.policy import Policy
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Floats, Integers
from controlplane.sim.workload import Workload

_PERCENTILE = 99.0
_SHARE_WINDOW_SECONDS = 5.0
"""The largest share that a new node gets is looked for in windows of this length."""
_DEATH_MARGIN_SECONDS = 2.0
"""After lease and one report nobody should choose a dead node any more; so much longer is looked on."""
_LEASE_INTERVALS = 6.0
_FLIP = 0.5
_MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of one policy. Utilisation is load over raw capacity."""

    policy: str
    seed: int
    flash_peak: float
    """Highest utilisation of any host at any instant of the flash window."""
    steady_peak: float
    p99_spread_points: float
    """Percentage points between the fleet's utilisation and the 99th percentile of its hosts', each second; and of these the 99th
    percentile over the flash window."""
    placed_over_capacity: int
    """Relayed sessions placed in the flash window on a host that had more than its capacity to carry already."""
    relayed: int
    """Relayed sessions placed in the flash window."""
    refused: int
    """Requests of the whole run that were given nothing."""
    misdirected_seconds: float
    """Credentials for a host that was dead (or a black hole), in seconds of its fair share of all credentials, of the 16 s in which
    a policy that notices nothing would misdirect that many. The mean over those that died; 0 when none did."""
    new_node_share: float
    """The largest share of all placements that a new host got in 5 s, in multiples of its share of capacity; 0 without one."""
    mean_utilisation: float
    """Of the fleet, over the steady window."""
    flips: int
    """How often the share of the first region's callers who are sent elsewhere moves by more than half from one second to the next,
    in the flash window."""
    neighbour_utilisation: float
    """Load over safe capacity of the fullest other region, in the fullest minute of the flash window; 0 without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """One run second by second."""

    load_bits_per_second: Floats
    """(seconds, hosts)."""
    host: Integers
    """Of each request; REFUSED (-1) when it was given nothing."""


class Meter:
    """Fed by the engine."""

    def __init__(self, scenario: Scenario, workload: Workload) -> None:
        self._scenario, self._workload = scenario, workload
        self._capacities = scenario.fleet.capacities
        hosts = len(scenario.fleet.hosts)
        self._peaks = {"steady": np.zeros(hosts), "flash": np.zeros(hosts)}
        self._windows = (("steady", scenario.steady), ("flash", scenario.flash))
        self._seconds: list[Floats] = []
        self.placed_over_capacity = 0

    def tick(self, now: float, load: Floats) -> None:
        for name, (start, end) in self._windows:
            if start <= now < end:
                peak = self._peaks[name]
                np.maximum(peak, load, out=peak)
        if now >= len(self._seconds):
            self._seconds.append(load.copy())

    def placed(self, now: float, hosts: Integers, first: int, load: Floats) -> None:
        """Requests from `first` on were placed on these hosts; -1: refused."""
        start, end = self._scenario.flash
        if start <= now < end:
            over = np.append(load > self._capacities, False)
            self.placed_over_capacity += int((over[hosts] & self._workload.relays[first : first + len(hosts)]).sum())

    def outcome(self, policy: str, seed: int, host: Integers) -> tuple[Outcome, Trail]:
        scenario, workload = self._scenario, self._workload
        load = np.array(self._seconds)
        start, end = (int(edge) for edge in scenario.flash)
        asked = host[workload.initial :]
        at = workload.at_seconds[workload.initial :]
        window = (at >= start) & (at < end)
        steady_load = load[int(scenario.steady[0]) : int(scenario.steady[1])]
        outcome = Outcome(
            policy=policy,
            seed=seed,
            flash_peak=float((self._peaks["flash"] / self._capacities).max()),
            steady_peak=float((self._peaks["steady"] / self._capacities).max()),
            p99_spread_points=_spread(load[start:end], self._capacities),
            placed_over_capacity=self.placed_over_capacity,
            relayed=int((workload.relays[workload.initial :] & window & (asked >= 0)).sum()),
            refused=int((asked < 0).sum()),
            misdirected_seconds=self._misdirected(at, asked),
            new_node_share=self._new_node_share(at, asked),
            flips=self._flips(at[window], asked[window], workload.demand[workload.initial :][window]),
            neighbour_utilisation=self._neighbour_utilisation(load[start:end]),
            mean_utilisation=float(steady_load.sum(axis=1).mean() / self._capacities.sum()) if len(steady_load) else 0.0,
        )
        return outcome, Trail(load_bits_per_second=load, host=host)

    def _misdirected(self, at: Floats, asked: Integers) -> float:
        deaths = self._scenario.deaths + self._scenario.black_holes
        if not deaths:
            return 0.0
        span = (_LEASE_INTERVALS + 1) * self._scenario.interval_seconds + _DEATH_MARGIN_SECONDS
        seconds = []
        for host, died_at in deaths:
            given = asked[(at >= died_at) & (at < died_at + span)]
            fair = self._capacities[host] / self._capacities.sum()
            seconds.append(float((given == host).sum()) / max(1, len(given)) / fair * span)
        return float(np.mean(seconds))

    def _new_node_share(self, at: Floats, asked: Integers) -> float:
        if not self._scenario.joins:
            return 0.0
        host, joined_at = self._scenario.joins[0]
        second = np.floor(at - joined_at).astype(np.int64)
        after = second >= 0
        length = int(self._scenario.duration_seconds - joined_at)
        everybody = np.bincount(second[after], minlength=length)
        its = np.bincount(second[after & (asked == host)], minlength=length)
        width = np.ones(int(_SHARE_WINDOW_SECONDS))
        share = np.convolve(its, width, "valid") / np.maximum(1.0, np.convolve(everybody, width, "valid"))
        return float(share.max() / (self._capacities[host] / self._capacities.sum()))

    def _flips(self, at: Floats, asked: Integers, demand: NDArray[np.int32]) -> int:
        scenario = self._scenario
        if len(scenario.fleet.regions) == 1:
            return 0
        first = np.array([each.region == 0 for each in scenario.asking])[demand]
        region = np.array([host.region for host in scenario.fleet.hosts])
        second = (at[first] - scenario.flash[0]).astype(np.int64)
        elsewhere = np.bincount(second, weights=(asked[first] >= 0) & (region[asked[first]] != 0))
        share = elsewhere / np.maximum(1, np.bincount(second))
        return int((np.abs(np.diff(share)) > _FLIP).sum())

    def _neighbour_utilisation(self, load: Floats) -> float:
        fleet, safe = self._scenario.fleet, self._scenario.fleet.safe_capacities(Policy())
        others = [fleet.of_region(region) for region in range(1, len(fleet.regions))]
        minute = min(_MINUTE_SECONDS, len(load))
        kernel = np.ones(minute) / max(1, minute)
        means = [np.convolve(load[:, its].sum(axis=1), kernel, "valid").max() / safe[its].sum() for its in others if its and minute]
        return float(max(means, default=0.0))


def _spread(load: Floats, capacities: Floats) -> float:
    """`load` is (seconds, hosts)."""
    if not len(load):
        return 0.0
    fleet: NDArray[np.float64] = load.sum(axis=1) / capacities.sum()
    above = np.percentile(load / capacities, _PERCENTILE, axis=1) - fleet
    return float(np.percentile(above, _PERCENTILE) * 100)
