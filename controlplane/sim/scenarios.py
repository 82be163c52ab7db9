"""The scenarios that selection is measured in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from controlplane.fleet.model import Region
from controlplane.fleet.policy import Policy
from controlplane.sim.fleet import ASHBURN, FRANKFURT, PARIS, SimFleet, mixed_fleet
from controlplane.sim.scenario import Demand, Partition, Scenario
from controlplane.sim.traffic import Traffic

BASE_UTILISATION = 0.45
"""Of raw capacity, in the steady state."""
EVENT_AT_SECONDS = 600.0
STEADY_SECONDS = 200.0
AFTER_SECONDS = 120.0
FLASH_FACTOR = 10.0
FLASH_SECONDS = 30.0
"""Together they bring the fleet from 0.45 to 0.82."""
_ORDINARY_BITS_PER_SECOND = 1e9
"""The size of the node that dies or joins."""
_LOST_SHARE = 0.8
_DEATHS_FROM_SECONDS = 200.0
_DEATHS_APART_SECONDS = 20.0
"""Longer than it takes to count the last credential for a dead host."""


def requests_per_second(load_bits_per_second: float, traffic: Traffic, conversion: float) -> float:
    """The rate of requests that holds that much load in the long run."""
    return load_bits_per_second / (conversion * traffic.mean_bits_per_second * traffic.mean_length_seconds)


def steady(nodes: int, *, replicas: int = 4) -> Scenario:
    """Base load, each region's callers next to their own region."""
    fleet, traffic = mixed_fleet(nodes), Traffic()
    rate = requests_per_second(BASE_UTILISATION * fleet.total_bits_per_second, traffic, traffic.conversion)
    demand = Demand(region=0, steps=((0.0, rate),), conversion=traffic.conversion)
    return Scenario(name="steady", fleet=fleet, demands=(demand,), traffic=traffic, replicas=replicas)


def flash_crowd(nodes: int, *, replicas: int = 4, at_seconds: float = EVENT_AT_SECONDS) -> Scenario:
    """Ten times the requests for 30 s. Before it 200 s of steady state are looked at, after its beginning 120 s."""
    base = steady(nodes, replicas=replicas)
    (demand,) = base.demands
    rate = demand.steps[0][1]
    crowd = replace(demand, steps=((0.0, rate), (at_seconds, FLASH_FACTOR * rate), (at_seconds + FLASH_SECONDS, rate)))
    end = at_seconds + AFTER_SECONDS
    return replace(
        base,
        name="flash",
        demands=(crowd,),
        duration_seconds=end,
        steady=(at_seconds - STEADY_SECONDS, at_seconds),
        flash=(at_seconds, end),
    )


def relay_only_flash(nodes: int, *, replicas: int = 4) -> Scenario:
    """The same relayed load, but the crowd is one customer whose every credential is relayed."""
    base = steady(nodes, replicas=replicas)
    (demand,) = base.demands
    extra = (FLASH_FACTOR - 1) * demand.steps[0][1] * demand.conversion
    end = EVENT_AT_SECONDS + FLASH_SECONDS
    crowd = Demand(region=0, steps=((0.0, 0.0), (EVENT_AT_SECONDS, extra), (end, 0.0)), conversion=1.0, project=1, initial=False)
    return replace(base, name="relay-only-flash", demands=(demand, crowd))


def two_projects(nodes: int, *, replicas: int = 4) -> Scenario:
    """A flash crowd of two customers that convert 5 % and 60 %, each bringing half of the load all the time."""
    flash = flash_crowd(nodes, replicas=replicas)
    (demand,) = flash.demands
    demands = tuple(
        replace(
            demand,
            project=project,
            conversion=conversion,
            steps=tuple((at, rate * demand.conversion / conversion / 2) for at, rate in demand.steps),
        )
        for project, conversion in enumerate((0.05, 0.60))
    )
    return replace(flash, name="two-projects", demands=demands)


def other_conversion(nodes: int, *, replicas: int = 4, conversion: float = 0.6) -> Scenario:
    """Five minutes of callers who relay much less or much more often than anybody would guess."""
    base = steady(nodes, replicas=replicas)
    traffic = replace(base.traffic, conversion=conversion)
    (demand,) = base.demands
    rate = demand.steps[0][1] * demand.conversion / conversion
    demand = replace(demand, conversion=conversion, steps=((0.0, rate),))
    return replace(base, name="other-conversion", traffic=traffic, demands=(demand,), duration_seconds=300.0)


def silent_death(nodes: int, *, replicas: int = 4) -> Scenario:
    """Hosts of ordinary size vanish without a word, one of twenty, one after the other.

    What one death misdirects differs by a factor of eight, with how full the host happened to look: hence several.
    """
    base = steady(nodes, replicas=replicas)
    capacities = base.fleet.capacities
    ordinary = capacities[base.fleet.nearest_to(_ORDINARY_BITS_PER_SECOND)]
    dying = np.nonzero(capacities == ordinary)[0][: max(1, nodes // 20)].tolist()
    deaths = tuple((host, _DEATHS_FROM_SECONDS + number * _DEATHS_APART_SECONDS) for number, host in enumerate(dying))
    return replace(base, name="silent-death", deaths=deaths, duration_seconds=deaths[-1][1] + _DEATHS_APART_SECONDS)


def black_hole(nodes: int, *, replicas: int = 4) -> Scenario:
    """A host of ordinary size is reached by its agent alone: it reports well, and relays nothing."""
    base = steady(nodes, replicas=replicas)
    host = base.fleet.nearest_to(_ORDINARY_BITS_PER_SECOND)
    return replace(base, name="black-hole", black_holes=((host, EVENT_AT_SECONDS),))


def new_node(nodes: int, *, replicas: int = 4) -> Scenario:
    """A host of ordinary size starts, empty."""
    base = steady(nodes, replicas=replicas)
    host = base.fleet.nearest_to(_ORDINARY_BITS_PER_SECOND)
    return replace(base, name="new-node", joins=((host, EVENT_AT_SECONDS),))


def _two_regions(nodes: int, regions: Sequence[Region] = (FRANKFURT, PARIS), *, replicas: int) -> Scenario:
    """Two regions, each with half of the load. Frankfurt and Paris are equally near for anybody."""
    fleet, traffic = mixed_fleet(nodes, regions), Traffic()
    demands = tuple(
        Demand(
            region=region,
            conversion=traffic.conversion,
            steps=((0.0, requests_per_second(BASE_UTILISATION * _capacity(fleet, region), traffic, traffic.conversion)),),
        )
        for region in range(len(fleet.regions))
    )
    return Scenario(name="two-regions", fleet=fleet, demands=demands, traffic=traffic, replicas=replicas)


def _capacity(fleet: SimFleet, region: int) -> float:
    return sum(fleet.hosts[index].capacity_bits_per_second for index in fleet.of_region(region))


def lost_reports(nodes: int, *, replicas: int = 4) -> Scenario:
    """Four of five hosts of both regions are not heard any more, and carry on."""
    return replace(_two_regions(nodes, replicas=replicas), name="lost-reports", muted_share=_LOST_SHARE)


def flaky_reports(nodes: int, *, replicas: int = 4) -> Scenario:
    """Four of five reports get lost, whoever sends them, during a flash crowd."""
    return replace(flash_crowd(nodes, replicas=replicas), name="flaky-reports", lost_share=_LOST_SHARE)


def lost_region(nodes: int, *, replicas: int = 4) -> Scenario:
    """All hosts of one of two regions vanish; a tenth of its callers insist on it."""
    base = _two_regions(nodes, replicas=replicas)
    demands = []
    for demand in base.demands:
        rate = demand.steps[0][1]
        insisting = replace(demand, steps=((0.0, rate / 10),), fixed_region=base.fleet.regions[demand.region].slug)
        demands += [replace(demand, steps=((0.0, rate * 9 / 10),)), insisting]
    deaths = tuple((host, EVENT_AT_SECONDS) for host in base.fleet.of_region(0))
    return replace(base, name="lost-region", demands=tuple(demands), deaths=deaths)


def partition(nodes: int, *, replicas: int = 4) -> Scenario:
    """Half of the replicas cannot reach the shared store for a minute, while a flash crowd comes."""
    apart = Partition(replicas=tuple(range(max(1, replicas // 2))), from_seconds=EVENT_AT_SECONDS - 10, until_seconds=660.0)
    return replace(flash_crowd(nodes, replicas=replicas), name="partition", partition=apart)


def placements_untold(nodes: int, *, replicas: int = 4) -> Scenario:
    """No replica is told what the others place, from before a flash crowd until after it; reports come as ever."""
    apart = Partition(
        replicas=tuple(range(replicas)),
        from_seconds=EVENT_AT_SECONDS - 60,
        until_seconds=EVENT_AT_SECONDS + 120,
        placements_only=True,
    )
    return replace(flash_crowd(nodes, replicas=replicas), name="placements-untold", partition=apart)


def muted_region(nodes: int, *, replicas: int = 4) -> Scenario:
    """One region's reports do not arrive for a minute; its hosts carry on."""
    base = _two_regions(nodes, replicas=replicas)
    return replace(base, name="muted-region", muted_regions=(0,), trouble_until_seconds=660.0)


def wrong_clock(nodes: int, *, replicas: int = 4) -> Scenario:
    """A host's clock jumps by 30 s: coturn would refuse every fresh credential."""
    base = steady(nodes, replicas=replicas)
    host = base.fleet.nearest_to(_ORDINARY_BITS_PER_SECOND)
    return replace(base, name="wrong-clock", clock_offsets=((host, 30.0),))


def spill(nodes: int, *, replicas: int = 4) -> Scenario:
    """One region is offered all that fits safely, 125 % of a filling of 80 %; its neighbour, far away, is at 45 %; for an hour."""
    base = _two_regions(nodes, (FRANKFURT, ASHBURN), replicas=replicas)
    policy = Policy()
    capacities = base.fleet.safe_capacities(policy)
    demands = []
    for demand, filled in zip(base.demands, (1.0, BASE_UTILISATION), strict=True):
        safe = float(capacities[base.fleet.of_region(demand.region)].sum())
        rate = requests_per_second(filled * safe, base.traffic, demand.conversion)
        demands.append(replace(demand, steps=((0.0, rate),)))
    return replace(
        base, name="spill", demands=tuple(demands), duration_seconds=4800.0, steady=(1200.0, 4800.0), flash=(1200.0, 4800.0)
    )


SCENARIOS = {
    "steady": steady,
    "flash": flash_crowd,
    "relay-only-flash": relay_only_flash,
    "two-projects": two_projects,
    "silent-death": silent_death,
    "black-hole": black_hole,
    "other-conversion": other_conversion,
    "new-node": new_node,
    "lost-reports": lost_reports,
    "flaky-reports": flaky_reports,
    "lost-region": lost_region,
    "partition": partition,
    "placements-untold": placements_untold,
    "muted-region": muted_region,
    "wrong-clock": wrong_clock,
    "spill": spill,
}
"""By name: (nodes, replicas=…) → Scenario."""
