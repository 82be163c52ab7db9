"""The figures, from placements and loads that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.fleet.policy import Policy
from controlplane.sim.measures import Meter, Outcome
from controlplane.sim.scenario import Scenario
from controlplane.sim.scenarios import SCENARIOS, new_node, silent_death, spill, steady
from controlplane.sim.sessions import Floats, Integers
from controlplane.sim.workload import Workload, make_workload

NODES = 8


def short(scenario: Scenario) -> Scenario:
    return replace(
        scenario,
        duration_seconds=100.0,
        steady=(20.0, 60.0),
        flash=(60.0, 100.0),
        deaths=tuple((host, 60.0) for host, _ in scenario.deaths),
        joins=tuple((host, 60.0) for host, _ in scenario.joins),
    )


def measured(scenario: Scenario, workload: Workload, host: Integers, load: Floats | None = None) -> Outcome:
    """`load` in every second; nothing when not given."""
    meter = Meter(scenario, workload)
    for second in range(100):
        meter.tick(float(second), np.zeros(NODES) if load is None else load)
    return meter.outcome("test", 1, host)[0]


def placed(workload: Workload, host: int) -> Integers:
    return np.full(len(workload.at_seconds), host, dtype=np.int64)


def test_peaks_belong_to_their_window() -> None:
    scenario = short(steady(NODES))
    workload = make_workload(scenario, 1)
    meter, capacities = Meter(scenario, workload), scenario.fleet.capacities
    for now, fill in ((10.0, 5.0), (30.0, 0.5), (59.95, 0.6), (60.0, 0.7), (99.0, 0.4)):
        meter.tick(now, np.where(np.arange(NODES) == 3, fill, 0.1) * capacities)
    found = meter.outcome("test", 1, placed(workload, 0))[0]
    assert (found.steady_peak, found.flash_peak) == pytest.approx((0.6, 0.7))


def test_the_spread_is_of_the_fullest_against_the_fleet() -> None:
    scenario = short(steady(NODES))
    workload, capacities = make_workload(scenario, 1), scenario.fleet.capacities
    assert measured(scenario, workload, placed(workload, 0), 0.4 * capacities).p99_spread_points == pytest.approx(0, abs=1e-9)
    load = np.where(np.arange(NODES) == 0, 0.9, 0.4) * capacities
    fleet = load.sum() / capacities.sum()
    expected = (np.percentile(load / capacities, 99) - fleet) * 100
    assert measured(scenario, workload, placed(workload, 0), load).p99_spread_points == pytest.approx(expected)


def test_only_relayed_sessions_in_the_window_count_as_placed_over_capacity() -> None:
    scenario = short(steady(NODES))
    workload, capacities = make_workload(scenario, 1), scenario.fleet.capacities
    meter = Meter(scenario, workload)
    first = workload.initial
    hosts = np.array([0] * 40 + [1] * 40 + [-1] * 40)
    load = np.where(np.arange(NODES) == 0, 1.1, 0.9) * capacities
    meter.placed(50.0, hosts, first, load)
    assert meter.placed_over_capacity == 0
    meter.placed(70.0, hosts, first, load)
    assert meter.placed_over_capacity == workload.relays[first : first + 40].sum() > 0


def test_who_is_blind_to_a_death_misdirects_for_the_whole_time() -> None:
    scenario = short(silent_death(NODES))
    workload, capacities = make_workload(scenario, 1), scenario.fleet.capacities
    blind = np.random.default_rng(1).choice(NODES, len(workload.at_seconds), p=capacities / capacities.sum())
    # Six intervals of lease, one until the next report would have come, and two seconds.
    assert measured(scenario, workload, blind).misdirected_seconds == pytest.approx(16, rel=0.15)
    dead = scenario.deaths[0][0]
    assert measured(scenario, workload, placed(workload, dead - 1)).misdirected_seconds == 0


def test_a_new_node_that_gets_everything_shows() -> None:
    scenario = short(new_node(NODES))
    workload, capacities = make_workload(scenario, 1), scenario.fleet.capacities
    new = scenario.joins[0][0]
    expected = capacities.sum() / capacities[new]
    assert measured(scenario, workload, placed(workload, new)).new_node_share == pytest.approx(expected)
    assert measured(scenario, workload, placed(workload, new - 1)).new_node_share == 0


def test_flips_are_counted_between_seconds() -> None:
    scenario = short(spill(NODES))
    workload = make_workload(scenario, 1)
    here, there = (scenario.fleet.of_region(region)[0] for region in (0, 1))
    flapping = np.where(np.floor(workload.at_seconds) % 2 == 0, here, there)
    assert measured(scenario, workload, flapping).flips == 39
    assert measured(scenario, workload, placed(workload, there)).flips == 0


def test_the_neighbour_is_measured_against_its_safe_capacity() -> None:
    scenario = short(SCENARIOS["spill"](NODES))
    workload = make_workload(scenario, 1)
    load = 0.6 * scenario.fleet.safe_capacities(Policy())
    assert measured(scenario, workload, placed(workload, 0), load).neighbour_utilisation == pytest.approx(0.6)


def test_refusals_are_counted() -> None:
    scenario = short(steady(NODES))
    workload = make_workload(scenario, 1)
    found = measured(scenario, workload, placed(workload, -1))
    assert found.refused == len(workload.at_seconds) - workload.initial
    assert found.relayed == 0
