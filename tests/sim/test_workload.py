"""Requests and sessions as they are drawn: their moments, and that one seed means one run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.sim.scenario import Scenario, Surge
from controlplane.sim.scenarios import (
    BASE_UTILISATION,
    FLASH_FACTOR,
    SCENARIOS,
    flash_crowd,
    relay_only_flash,
    steady,
    two_projects,
)
from controlplane.sim.sessions import Floats, new_changes
from controlplane.sim.traffic import TICK_SECONDS, Traffic
from controlplane.sim.workload import Workload, make_workload

NODES = 20


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return flash_crowd(NODES)


@pytest.fixture(scope="module")
def workload(scenario: Scenario) -> Workload:
    return make_workload(scenario, 1)


def total_load(workload: Workload) -> Floats:
    """Bits per second of all sessions together, tick by tick."""
    offsets = workload.changes.offsets
    running: Floats = np.concatenate([[0.0], np.cumsum(workload.changes.load)])
    each_tick: Floats = running[np.array(offsets[1:])]
    return each_tick


def test_one_seed_is_one_workload(scenario: Scenario, workload: Workload) -> None:
    again, other = make_workload(scenario, 1), make_workload(scenario, 2)
    assert np.array_equal(workload.at_seconds, again.at_seconds)
    assert np.array_equal(workload.rates, again.rates)
    assert np.array_equal(workload.changes.load, again.changes.load)
    assert len(workload.at_seconds) != len(other.at_seconds)


def test_the_load_is_what_the_scenario_means(scenario: Scenario, workload: Workload) -> None:
    utilisation = total_load(workload) / scenario.fleet.total_bits_per_second
    per_second = round(1 / TICK_SECONDS)
    assert utilisation[0] == pytest.approx(BASE_UTILISATION, rel=0.05)
    assert utilisation[: 600 * per_second].mean() == pytest.approx(BASE_UTILISATION, rel=0.05)
    assert 0.78 < utilisation.max() < 0.86
    assert (utilisation > 0).all()


def test_a_flash_crowd_is_ten_times_the_requests(scenario: Scenario, workload: Workload) -> None:
    at = workload.at_seconds[workload.initial :]
    during = ((at >= 600) & (at < 630)).sum() / 30
    before = (at < 600).sum() / 600
    assert during / before == pytest.approx(FLASH_FACTOR, rel=0.05)
    assert before == pytest.approx(scenario.demands[0].steps[0][1], rel=0.02)


def test_sessions_have_the_rates_and_shares_of_the_traffic(workload: Workload) -> None:
    asked = workload.relays[workload.initial :]
    relayed = workload.rates[workload.relays]
    assert asked.mean() == pytest.approx(0.15, abs=0.005)
    assert relayed.mean() == pytest.approx(2e6, rel=0.03)
    assert (workload.rates[~workload.relays] == 0).all()
    # Of the final rate, fluctuation included, this is what the safe capacity is made of: 4.3 Mbit/s.
    burst = (relayed**2).mean() / relayed.mean() * np.exp(0.35**2)
    assert burst == pytest.approx(4.3e6, rel=0.1)


def test_a_session_ramps_up_in_three_steps_and_ends_at_nothing() -> None:
    steady_rate = replace(Traffic(), fluctuation_sigma=0.0)
    builder = new_changes(steady_rate, 60.0)
    builder.ramping(
        np.random.default_rng(1),
        np.array([0, 1, 2]),
        np.array([100.0, 100.0, 100.0]),
        np.array([2.0, 2.0, 2.0]),
        np.array([50.0, 4.0, 7.0]),
    )
    changes = builder.build()
    per_second = round(1 / TICK_SECONDS)

    def level(request: int, second: float) -> float:
        upto = changes.offsets[round(second * per_second) + 1]
        return float(changes.load[:upto][changes.request[:upto] == request].sum())

    assert [level(0, at) for at in (1.9, 2.1, 5.1, 10.1, 49.9, 50.1)] == pytest.approx([0, 30, 65, 100, 100, 0])
    assert [level(1, at) for at in (2.1, 3.9, 4.1, 20)] == pytest.approx([30, 30, 0, 0])
    assert [level(2, at) for at in (2.1, 5.1, 7.1, 20)] == pytest.approx([30, 65, 0, 0])
    assert changes.ends.sum() == 3


def test_a_relay_only_crowd_brings_the_same_load_with_fewer_requests() -> None:
    crowd, ordinary = make_workload(relay_only_flash(NODES), 1), make_workload(flash_crowd(NODES), 1)
    assert total_load(crowd).max() == pytest.approx(total_load(ordinary).max(), rel=0.05)
    assert crowd.relays[crowd.demand == 1].all()
    assert len(crowd.at_seconds) < len(ordinary.at_seconds)


def test_two_projects_convert_as_they_do() -> None:
    made = make_workload(two_projects(NODES), 1)
    for project, conversion in enumerate((0.05, 0.60)):
        asked = made.relays[made.initial :][made.demand[made.initial :] == project]
        assert asked.mean() == pytest.approx(conversion, abs=0.01)


def test_a_surge_comes_in_its_time_with_long_sessions() -> None:
    base = steady(NODES)
    surge = Surge(region=0, at_seconds=100.0, spread_seconds=10.0, sessions=2000.0)
    made = make_workload(replace(base, surges=(surge,)), 1)
    its = made.demand == 1
    assert its.sum() == pytest.approx(2000, rel=0.1)
    assert made.relays[its].all()
    assert made.at_seconds[its].min() >= 100
    assert made.at_seconds[its].max() < 110


def test_replicas_get_equal_parts(workload: Workload) -> None:
    assert np.bincount(workload.replica) / len(workload.replica) == pytest.approx(np.full(4, 0.25), abs=0.01)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_a_workload(name: str) -> None:
    made = make_workload(replace(SCENARIOS[name](8), duration_seconds=60.0), 1)
    assert made.initial > 0
    assert len(made.at_seconds) > made.initial
