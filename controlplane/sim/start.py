"""Where the sessions are that are under way when a run begins: as an oracle would have placed them, for every policy alike."""

from __future__ import annotations

import numpy as np

from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Integers
from controlplane.sim.workload import Workload

_SMALLEST = 1e-3
"""Nothing is divided by zero; a host of no share gets next to nothing."""


def place_initial(scenario: Scenario, workload: Workload, alive: list[bool]) -> Integers:
    """The host of each initial session: the one of its region that has least for its share with it, in the order they came."""
    fleet = scenario.fleet
    members = [np.array([host for host in fleet.of_region(region) if alive[host]]) for region in range(len(fleet.regions))]
    weights = fleet.capacities if scenario.initial_shares is None else np.array(scenario.initial_shares)
    shares = [1 / np.maximum(weights[hosts], _SMALLEST) for hosts in members]
    filled = [np.zeros(len(hosts)) for hosts in members]
    chosen = np.empty(workload.initial, dtype=np.int64)
    region_of = [demand.region for demand in scenario.demands]
    demands, rates = workload.demand[: workload.initial].tolist(), workload.rates[: workload.initial].tolist()
    for number, (demand, rate) in enumerate(zip(demands, rates, strict=True)):
        region = region_of[demand]
        best = int(np.argmin(filled[region] + rate * shares[region]))
        filled[region][best] += rate * shares[region][best]
        chosen[number] = members[region][best]
    return chosen
