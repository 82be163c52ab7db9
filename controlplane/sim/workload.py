"""All requests of a run and the sessions that follow from them, drawn from one seed; the same for every policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.scenario import Demand, Scenario
from controlplane.sim.sessions import Changes, ChangesBuilder, Floats, Integers, new_changes
from controlplane.sim.traffic import Traffic


class Purpose(IntEnum):
    """Every kind of chance has a generator of its own, so that changing one leaves the others as they were."""

    ARRIVALS = 1
    SESSIONS = 2
    POPULATION = 3
    FLUCTUATION = 4
    ROUTING = 5
    REPORTS = 6
    PHASES = 7
    TROUBLE = 8
    DRAWS = 9


def generator(seed: int, purpose: Purpose, part: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, purpose, part])


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests are numbered: first the `initial` sessions that are under way, then those that ask, by order of time."""

    initial: int
    at_seconds: Floats
    """When each asks; 0 for the initial ones."""
    demand: NDArray[np.int32]
    """Index among the scenario's demands; its surges come after them."""
    relays: NDArray[np.bool_]
    rates: Floats
    """Bits per second of its session, 0 when it relays nothing."""
    replica: NDArray[np.int32]
    """Which replica the request reaches."""
    changes: Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Requests before they are put in order."""

    at: Floats
    demand: int
    relays: NDArray[np.bool_]
    residual: bool = False
    """Their sessions are under way already, so long ones are more likely among them."""


def make_workload(scenario: Scenario, seed: int) -> Workload:
    traffic, rng = scenario.traffic, generator(seed, Purpose.POPULATION)
    asked = [_asked_by(demand, index, scenario.duration_seconds, seed) for index, demand in enumerate(scenario.demands)]
    for index, each in enumerate(scenario.surges, len(scenario.demands)):
        local = generator(seed, Purpose.ARRIVALS, index)
        count = int(local.poisson(each.sessions / each.conversion))
        at = each.at_seconds + local.random(count) * each.spread_seconds
        asked.append(_Asked(at=at, demand=index, relays=local.random(count) < each.conversion, residual=True))

    present = [int(rng.poisson(_present(demand, traffic))) if demand.initial else 0 for demand in scenario.demands]
    initial = sum(present)
    at = np.concatenate([np.zeros(initial), *(each.at for each in asked)])
    demand = np.concatenate([np.repeat(np.arange(len(present)), present), *(np.full(len(each.at), each.demand) for each in asked)])
    relays = np.concatenate([np.ones(initial, dtype=np.bool_), *(each.relays for each in asked)])
    residual = np.concatenate([np.ones(initial, dtype=np.bool_), *(np.full(len(each.at), each.residual) for each in asked)])
    order = np.argsort(at, kind="stable")  # the initial ones stay in front: nobody asks at 0 exactly
    at, demand, relays, residual = at[order], demand[order].astype(np.int32), relays[order], residual[order]

    rates = np.where(relays, _rates(generator(seed, Purpose.SESSIONS), traffic, len(at)), 0.0)
    lengths = _lengths(generator(seed, Purpose.SESSIONS, 1), traffic, residual)
    routing = generator(seed, Purpose.ROUTING)
    return Workload(
        initial=initial,
        at_seconds=at,
        demand=demand,
        relays=relays,
        rates=rates,
        replica=(routing.random(len(at)) * scenario.replicas).astype(np.int32),
        changes=_changes(scenario, seed, initial=initial, at=at, relays=relays, rates=rates, lengths=lengths),
    )


def _present(demand: Demand, traffic: Traffic) -> float:
    """Little's law: how many of its sessions there are after a long time at its first rate."""
    return demand.steps[0][1] * demand.conversion * traffic.mean_length_seconds


def _asked_by(demand: Demand, index: int, duration_seconds: float, seed: int) -> _Asked:
    """A Poisson process, step by step."""
    rng = generator(seed, Purpose.ARRIVALS, index)
    ends = [at for at, _ in demand.steps[1:]] + [duration_seconds]
    parts = []
    for (start, rate), end in zip(demand.steps, ends, strict=True):
        span = max(0.0, min(end, duration_seconds) - start)
        parts.append(start + np.sort(rng.random(int(rng.poisson(rate * span)))) * span)
    at = np.concatenate(parts)
    return _Asked(at=at, demand=index, relays=rng.random(len(at)) < demand.conversion)


def _rates(rng: np.random.Generator, traffic: Traffic, count: int) -> Floats:
    sigma = traffic.rate_sigma
    return traffic.mean_bits_per_second * rng.lognormal(-sigma * sigma / 2, sigma, count)


def _lengths(rng: np.random.Generator, traffic: Traffic, residual: NDArray[np.bool_]) -> Floats:
    """Seconds that are left of each session: all of a new one; of one that is under way an even share of a length-biased draw."""
    sigma = traffic.length_sigma
    whole = traffic.mean_length_seconds * rng.lognormal(-sigma * sigma / 2, sigma, len(residual))
    # The length-biased lognormal is lognormal again, its logarithm shifted by sigma squared.
    left = rng.random(len(residual)) * whole * np.exp(sigma * sigma)
    return np.where(residual, left, whole)


def _changes(
    scenario: Scenario, seed: int, *, initial: int, at: Floats, relays: NDArray[np.bool_], rates: Floats, lengths: Floats
) -> Changes:
    traffic = scenario.traffic
    rng = generator(seed, Purpose.FLUCTUATION)
    builder: ChangesBuilder = new_changes(traffic, scenario.duration_seconds)
    number: Integers = np.arange(len(at))
    old, new = number[:initial], number[initial:]
    builder.ramped(rng, old, rates[:initial], lengths[:initial])
    builder.allocations(old, np.zeros(initial), lengths[:initial])
    relayed, unused = new[relays[initial:]], new[~relays[initial:]]
    ice = traffic.ice_from_seconds + (traffic.ice_to_seconds - traffic.ice_from_seconds) * rng.random(len(at))
    start = at[relayed] + ice[relayed]
    builder.ramping(rng, relayed, rates[relayed], start, start + lengths[relayed])
    builder.allocations(relayed, at[relayed] + traffic.gathering_seconds, start + lengths[relayed])
    opened = at[unused] + traffic.gathering_seconds
    builder.allocations(unused, opened, opened + traffic.unused_allocation_seconds)
    return builder.build()
