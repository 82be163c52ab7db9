"""Runs: nothing is lost, chance is the same for all, and what breaks shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controlplane.sim.engine import run
from controlplane.sim.fleet import FRANKFURT, SimFleet, mixed_fleet
from controlplane.sim.measures import Outcome, Trail
from controlplane.sim.policies import POLICIES
from controlplane.sim.reporting import Reporting
from controlplane.sim.scenario import Scenario
from controlplane.sim.scenarios import SCENARIOS, flash_crowd, lost_region, new_node, silent_death, steady
from controlplane.sim.traffic import TICK_SECONDS
from controlplane.sim.turnfleet import Turnfleet
from controlplane.sim.workload import Workload, make_workload

NODES = 5


def short(scenario: Scenario, *, until: float = 120.0) -> Scenario:
    """Its first minutes, with both windows in them."""
    return replace(scenario, duration_seconds=until, steady=(20.0, 60.0), flash=(60.0, until))


def play(scenario: Scenario, policy: str, seed: int = 1) -> tuple[Outcome, Trail, Workload]:
    workload = make_workload(scenario, seed)
    outcome, trail = run(scenario, workload, POLICIES[policy](scenario, workload, seed), seed)
    return outcome, trail, workload


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_is_the_same_run_and_no_load_is_lost(policy: str) -> None:
    scenario = short(steady(NODES))
    outcome, trail, workload = play(scenario, policy)
    again, same_trail, _ = play(scenario, policy)
    assert outcome == again
    assert np.array_equal(trail.host, same_trail.host)
    running = np.concatenate([[0.0], np.cumsum(workload.changes.load)])
    ticks = np.arange(len(trail.load_bits_per_second)) * round(1 / TICK_SECONDS)
    all_sessions = running[np.array(workload.changes.offsets)[ticks + 1]]
    assert trail.load_bits_per_second.sum(axis=1) == pytest.approx(all_sessions, rel=1e-9)
    assert outcome.refused == 0
    assert (trail.load_bits_per_second > -1).all()


@pytest.mark.parametrize("policy", ["turnfleet", "random"])
def test_another_seed_is_another_run(policy: str) -> None:
    scenario = short(steady(NODES))
    assert play(scenario, policy, 1)[0] != play(scenario, policy, 2)[0]


def test_the_oracle_is_never_worse_than_chance() -> None:
    scenario = flash_crowd(NODES)
    for seed in (1, 2):
        oracle, chance = play(scenario, "oracle", seed)[0], play(scenario, "random", seed)[0]
        assert oracle.flash_peak < chance.flash_peak
        assert oracle.steady_peak < chance.steady_peak
        assert oracle.p99_spread_points < chance.p99_spread_points
        assert oracle.placed_over_capacity == 0 < chance.placed_over_capacity


def test_sizes_are_as_mixed_as_they_are_meant_to_be() -> None:
    capacities = mixed_fleet(20).capacities
    assert capacities.min() == 250e6
    assert capacities.max() == 5000e6
    assert capacities.sum() == 20 * 1037.5e6


def test_the_start_fills_everybody_alike() -> None:
    scenario = short(steady(20))
    _, trail, _ = play(scenario, "random")
    assert trail.load_bits_per_second[0] / scenario.fleet.capacities == pytest.approx(np.full(20, 0.45), abs=0.1)


def test_reports_come_every_interval_give_or_take_a_tenth() -> None:
    scenario = steady(NODES)
    reporting = Reporting(scenario, 1)
    gaps = [reporting.next_report(100.0) - 100.0 for _ in range(500)]
    assert min(gaps) >= 1.8
    assert max(gaps) <= 2.2
    assert np.mean(gaps) == pytest.approx(2.0, abs=0.02)


def test_a_report_tells_the_moment_or_the_mean() -> None:
    for averaged, told in ((False, 300.0), (True, 200.0)):
        reporting = Reporting(replace(steady(NODES), averaged_reports=averaged), 1)
        for load in (100.0, 200.0, 300.0):
            reporting.carry(np.full(NODES, load))
        heard = reporting.report(0, 1.0, np.full(NODES, 300.0), 7, 9)
        assert heard is not None
        assert (heard[1].bits_per_second, heard[1].allocations, heard[1].allocations_started) == (told, 7, 9)


def test_a_dead_host_carries_nothing_and_is_left_within_its_lease() -> None:
    base = short(silent_death(NODES))
    host = base.deaths[0][0]
    scenario = replace(base, deaths=((host, 60.0),))
    outcome, trail, workload = play(scenario, "turnfleet")
    assert (trail.load_bits_per_second[60:, host] == 0).all()
    assert trail.load_bits_per_second[59, host] > 0
    late = workload.at_seconds > 60 + 12 + 2 + 1.1
    assert not (trail.host[late] == host).any()
    assert 0 <= outcome.misdirected_seconds < 5


def test_a_black_hole_is_left_although_it_reports() -> None:
    base = short(SCENARIOS["black-hole"](NODES), until=150.0)
    host = base.black_holes[0][0]
    scenario = replace(base, black_holes=((host, 60.0),))
    _, trail, workload = play(scenario, "turnfleet")
    assert (trail.load_bits_per_second[60:, host] == 0).all()
    given = workload.at_seconds[trail.host == host]
    assert ((given > 60) & (given < 63)).any()
    # Twelve expected allocations, 4 s until a report would show them, that report, and the rebuilding.
    suspect = (workload.at_seconds > 75) & (workload.at_seconds < 90)
    assert (trail.host[suspect] == host).mean() < 0.02


def test_what_a_credential_brings_is_learned() -> None:
    scenario = SCENARIOS["other-conversion"](NODES)
    workload = make_workload(scenario, 1)
    placer = Turnfleet(scenario, workload, 1)
    run(scenario, workload, placer, 1)
    expected = scenario.traffic.relayed_bits_per_second_per_request
    assert placer.replicas[1].view.conversion.weight("0").bits_per_second == pytest.approx(expected, rel=0.1)


def test_a_new_host_gets_nothing_before_it_is_proved_and_its_share_after() -> None:
    base = short(new_node(NODES))
    host = base.joins[0][0]
    scenario = replace(base, joins=((host, 60.0),))
    outcome, trail, workload = play(scenario, "turnfleet")
    assert not (trail.host[workload.at_seconds < 61.8] == host).any()
    assert (trail.host[workload.at_seconds > 70] == host).any()
    assert outcome.new_node_share > 1


def test_a_lost_region_refuses_those_who_insist_and_nobody_else() -> None:
    base = lost_region(8)
    scenario = replace(short(base), deaths=tuple((host, 60.0) for host, _ in base.deaths))
    _, trail, workload = play(scenario, "turnfleet")
    insisting = [index for index, demand in enumerate(scenario.demands) if demand.fixed_region == "eu-central"]
    late = workload.at_seconds > 76
    its = np.isin(workload.demand, insisting)
    assert (trail.host[late & its] == -1).all()
    assert (trail.host[late & ~its] >= 0).all()


def test_a_host_with_a_wrong_clock_is_left_at_its_second_report() -> None:
    base = short(SCENARIOS["wrong-clock"](NODES))
    scenario = replace(base, trouble_at_seconds=60.0)
    host = scenario.clock_offsets[0][0]
    _, trail, workload = play(scenario, "turnfleet")
    # Two reports, the reading by the other replicas and their rebuilding.
    late = workload.at_seconds > 60 + 2 * 2.2 + 1 + 1
    assert not (trail.host[late] == host).any()


def test_replicas_that_are_cut_off_keep_placing() -> None:
    base = short(SCENARIOS["partition"](NODES))
    assert base.partition is not None
    scenario = replace(base, partition=replace(base.partition, from_seconds=60.0, until_seconds=100.0))
    outcome, trail, _ = play(scenario, "turnfleet")
    assert outcome.refused == 0
    assert (trail.host >= 0).all()


def test_who_is_not_told_what_the_others_place_counts_his_own_for_all() -> None:
    base = short(SCENARIOS["placements-untold"](NODES))
    assert base.partition is not None
    scenario = replace(base, partition=replace(base.partition, from_seconds=20.0, until_seconds=500.0))
    workload = make_workload(scenario, 1)
    placer = Turnfleet(scenario, workload, 1)
    run(scenario, workload, placer, 1)
    views = [replica.view for replica in placer.replicas]
    assert [view.own_factor for view in views] == [4.0] * 4
    # The reports of all are known to all.
    assert min(len([node for node in view.nodes if view.received_at(node) is not None]) for view in views) == NODES


def test_muted_hosts_are_as_many_as_said() -> None:
    scenario = replace(steady(20), muted_share=0.8, trouble_at_seconds=0.0)
    reporting = Reporting(scenario, 1)
    heard = [host for host in range(20) if reporting.report(host, 1.0, np.zeros(20), 0, 0) is not None]
    assert len(heard) == 4


def test_hosts_are_found_by_size_and_region() -> None:
    fleet: SimFleet = mixed_fleet(20, (FRANKFURT,))
    assert fleet.hosts[fleet.nearest_to(1e9)].capacity_bits_per_second == 1e9
    assert fleet.of_region(0) == list(range(20))
