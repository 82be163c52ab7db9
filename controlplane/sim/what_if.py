"""An operator's own fleet with more load, without a region, with another node: does it hold, and where do callers end up?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from controlplane.fleet.conversion import Conversion, Counts, Rates
from controlplane.fleet.policy import Policy
from controlplane.sim.fleet import Host
from controlplane.sim.fleet_file import FleetFile, FleetFileError, to_fleet
from controlplane.sim.measures import Outcome, Trail
from controlplane.sim.replica import wall
from controlplane.sim.scenario import Demand, Scenario, Surge
from controlplane.sim.scenarios import requests_per_second
from controlplane.sim.sessions import Floats
from controlplane.sim.traffic import Traffic
from controlplane.sim.workload import Workload

CHANGE_AT_SECONDS = 60
"""Until then the fleet is as it is now."""
GROWTH_SECONDS = 120.0
"""More load comes within this time: as a morning does, only quicker."""
NOTICED_AFTER_SECONDS = 15.0
"""A lost region's callers ask again until it is known to be down: the lease of 12 s, and the delays of reading and rebuilding."""
RECONNECTING_SECONDS = 15.0
AFTER_SECONDS = 660
"""How long the fleet is looked at after the change: what comes at once and what it settles to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    load_factor: float = 1.0
    lost_regions: tuple[str, ...] = ()
    added: tuple[tuple[str, float], ...] = ()
    """(region, capacity in bits per second), one per new node."""


class RegionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    region: str
    offered_bits_per_second: float
    """What the callers next to it bring, after the change."""
    highest_utilisation: float
    """Of the region: load over safe capacity, at its fullest second."""
    highest_node_utilisation: float
    """Of the fullest node: load over capacity."""
    served_in: dict[str, float]
    """Share of its callers' requests by the region that they were given."""
    refused_share: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    holds: bool
    because: list[str]
    """In words: what gives way, or by how much it holds."""
    requests: int
    refused: int
    regions: list[RegionAnswer]


def make_scenario(read: FleetFile, change: Change) -> Scenario:
    """Raises FleetFileError when the change names a region that the file does not have."""
    fleet = to_fleet(read)
    traffic = _traffic(read)
    index = {region.slug: number for number, region in enumerate(fleet.regions)}
    for slug in (*change.lost_regions, *(region for region, _ in change.added)):
        if slug not in index:
            raise FleetFileError(f"The file has no region {slug!r}; it has {', '.join(sorted(index))}.")
    added = tuple(
        Host(name=f"added-{number}", region=index[slug], capacity_bits_per_second=capacity)
        for number, (slug, capacity) in enumerate(change.added, 1)
    )
    joins = tuple((len(fleet.hosts) + number, float(CHANGE_AT_SECONDS)) for number in range(len(added)))
    fleet = replace(fleet, hosts=fleet.hosts + added)
    lost = {index[slug] for slug in change.lost_regions}
    present = [0.0] * len(fleet.regions)
    for node in read.nodes:
        present[index[node.region]] += node.bits_per_second
    demands, surges = [], []
    for region, load in enumerate(present):
        rate = requests_per_second(load, traffic, traffic.conversion)
        demands.append(
            Demand(
                region=region,
                steps=((0.0, rate), (float(CHANGE_AT_SECONDS), rate * change.load_factor)),
                conversion=traffic.conversion,
            )
        )
        sessions = load / traffic.mean_bits_per_second
        if change.load_factor > 1:
            surges.append(
                _surge(region, CHANGE_AT_SECONDS, GROWTH_SECONDS, sessions * (change.load_factor - 1), traffic.conversion)
            )
        if region in lost:
            noticed = CHANGE_AT_SECONDS + NOTICED_AFTER_SECONDS
            surges.append(_surge(region, noticed, RECONNECTING_SECONDS, sessions, 1.0))
    end = CHANGE_AT_SECONDS + AFTER_SECONDS
    after = (float(CHANGE_AT_SECONDS), float(end))
    return Scenario(
        name="what-if",
        fleet=fleet,
        demands=tuple(demands),
        surges=tuple(each for each in surges if each.sessions > 0),
        initial_shares=(*(node.bits_per_second for node in read.nodes), *(0.0 for _ in added)),
        traffic=traffic,
        duration_seconds=float(end),
        steady=after,
        flash=after,
        deaths=tuple((host, float(CHANGE_AT_SECONDS)) for region in lost for host in fleet.of_region(region)),
        joins=joins,
    )


def _surge(region: int, at: float, spread: float, sessions: float, conversion: float) -> Surge:
    return Surge(region=region, at_seconds=at, spread_seconds=spread, sessions=sessions, conversion=conversion)


def _traffic(read: FleetFile) -> Traffic:
    known = {name: value for name, value in msgspec.structs.asdict(read.traffic).items() if value is not None}
    return replace(Traffic(), **known)


def learned_before(traffic: Traffic) -> Conversion:
    """What a control plane has learned of these sessions when it runs for long: the simulation does not begin with guesses."""
    many = 1e5
    return Conversion(
        at=wall(0.0).timestamp(),
        fleet=Counts(issued=many, relayed=many * traffic.conversion, allocations=many),
        rates=Rates(bits_per_second=many * traffic.mean_bits_per_second, sessions=many),
    )


def utilisation_by_region(scenario: Scenario, trail: Trail, policy: Policy) -> Mapping[str, Floats]:
    """Load over the safe capacity of the nodes that are there, second by second; 0 while there is none."""
    fleet, load = scenario.fleet, trail.load_bits_per_second
    there = np.ones(load.shape, dtype=np.bool_)
    for host, when in scenario.deaths:
        there[int(when) :, host] = False
    for host, when in scenario.joins:
        there[: int(when), host] = False
    safe = there * fleet.safe_capacities(policy)
    result = {}
    for index, region in enumerate(fleet.regions):
        its = fleet.of_region(index)
        room = safe[:, its].sum(axis=1)
        result[region.slug] = np.divide(load[:, its].sum(axis=1), room, out=np.zeros(len(load)), where=room > 0)
    return result


def judge(scenario: Scenario, workload: Workload, outcome: Outcome, trail: Trail, policy: Policy) -> Answer:
    regions, fleet = [], scenario.fleet
    start, end = (int(edge) for edge in scenario.flash)
    by_region = utilisation_by_region(scenario, trail, policy)
    fills = trail.load_bits_per_second[start:end] / fleet.capacities
    asked_from = np.array([each.region for each in scenario.asking])[workload.demand]
    counted = workload.at_seconds >= CHANGE_AT_SECONDS
    host_region = np.array([host.region for host in fleet.hosts])
    for index, region in enumerate(fleet.regions):
        given = trail.host[counted & (asked_from == index)]
        served = np.bincount(host_region[given[given >= 0]], minlength=len(fleet.regions)) / max(1, len(given))
        its = fleet.of_region(index)
        regions.append(
            RegionAnswer(
                region=region.slug,
                offered_bits_per_second=scenario.demands[index].steps[-1][1]
                * scenario.traffic.relayed_bits_per_second_per_request
                * scenario.traffic.mean_length_seconds,
                highest_utilisation=float(by_region[region.slug][start:end].max()),
                highest_node_utilisation=float(fills[:, its].max()) if its else 0.0,
                served_in={
                    other.slug: round(float(share), 4) for other, share in zip(fleet.regions, served, strict=True) if share > 0
                },
                refused_share=float((given < 0).sum() / max(1, len(given))),
            )
        )
    gives_way = _what_gives_way(scenario, outcome, fills)
    holds = [f"Nobody was refused, and no node carried more than {fills.max():.0%} of its capacity."]
    return Answer(
        holds=not gives_way,
        because=gives_way or holds,
        requests=int(counted.sum()),
        refused=outcome.refused,
        regions=regions,
    )


def _what_gives_way(scenario: Scenario, outcome: Outcome, fills: Floats) -> list[str]:
    """`fills` is (seconds, hosts): load over capacity."""
    sentences = []
    if outcome.refused:
        sentences.append(f"{outcome.refused} requests were refused: every region that they may use is full or down.")
    seconds = (fills > 1).sum(axis=0)
    overloaded: Sequence[int] = [int(host) for host in np.flatnonzero(seconds)]
    for host in overloaded:
        it = scenario.fleet.hosts[host]
        sentences.append(
            f"Node {it.name} in {scenario.fleet.regions[it.region].slug} carried up to {fills[:, host].max():.0%} of its capacity, "
            f"more than all of it for {seconds[host]} of {len(fills)} s."
        )
    return sentences
