"""The arrays say the same as the functions that explain a single node; and what only they decide: the caps, the hold, suspicion."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.model import Health, HealthReason, Intent, Node, NodeRecord, Region
from controlplane.fleet.node_state import nodes_by_region
from controlplane.fleet.outside import Outside, ProberPlace, Sight, Standing
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import NodeReason, Refusal, Selection, Weight, select
from controlplane.fleet.view import FleetView
from tests.builders import AT, make_load, make_node, make_record, make_region, make_report
from tests.fleet.test_selection import REPORTS

POLICY = Policy()
NOW = 1000.0
REGIONS = [make_region(slug) for slug in ("eu-central", "eu-west", "us-east")]
WEIGHT = Conversion().weight(None)
ONE = Weight(bits_per_second=0.3e6, allocations=1.0)


def view_of(nodes: dict[Node, tuple[NodeRecord, float] | None], regions: list[Region] = REGIONS) -> FleetView:
    """Each node with its record and its age."""
    view = FleetView(policy=POLICY)
    view.set_directory(regions, nodes)
    for node, known in nodes.items():
        if known is not None:
            view.put_record(node.node_id, known[0], received=NOW - known[1])
    view.rebuild(now=NOW, wall=AT)
    return view


def fleet(ages: list[float], *, region: str = "eu-central", name: str = "node") -> dict[Node, tuple[NodeRecord, float] | None]:
    return {make_node(f"{name}-{number:03}", region=region): (make_record(), age) for number, age in enumerate(ages)}


def chosen_ids(view: FleetView, picks: int, *, fixed: str = "eu-central") -> list[str]:
    draw = random.Random(1).random
    found = []
    for _ in range(picks):
        chosen = select(view.table, ranked=None, fixed=fixed, weight=WEIGHT, draw=draw, policy=POLICY)
        assert isinstance(chosen, Selection)
        found.append(chosen.contenders[0].node_id)
    return found


LOADS = [make_load(), make_load(allocations=9_900), make_load(transmit_bits_per_second=8.4e8), make_load(cpu_ratio=0.9)]


OUTSIDES = [
    Outside(probed_at=AT, sight=Sight.RELAYS),
    Outside(probed_at=AT, sight=Sight.FAILS, standing=Standing.FAILED),
    Outside(probed_at=AT, sight=Sight.RELAYS, standing=Standing.QUARANTINED, held_until=AT),
]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(REGIONS),
            st.sampled_from(Intent),
            st.sampled_from([None, *REPORTS, *(make_report(load=load) for load in LOADS)]),
            st.integers(0, 3),
            st.sampled_from([0.0, 1.0, 4.9, 5.1, 11.9, 12.1, 40.0]),
            st.sampled_from([None, *OUTSIDES]),
            st.sampled_from([0.0, 299.0, 301.0]),
        ),
        max_size=14,
    ),
    st.booleans(),
    st.sampled_from([None, (False, 0.0), (True, 0.0), (True, 301.0)]),
    st.booleans(),
)
def test_what_is_rebuilt_is_what_is_explained(
    fleet: list[tuple[Region, Intent, object, int, float, Outside | None, float]],
    held: bool,
    place: tuple[bool, float] | None,
    late_directory: bool,
) -> None:
    nodes: dict[Node, tuple[NodeRecord, float] | None] = {}
    view = FleetView(policy=POLICY)
    if place is not None:
        view.prober = (ProberPlace(ours=place[0], since=None, failing=0, tried=0), NOW - place[1])
    for number, (region, intent, report, streak, age, _, _) in enumerate(fleet):
        node = make_node(f"node-{number}", region=region.slug, intent=intent)
        nodes[node] = None if report is None else (make_record(report=report, good_streak=streak), age)  # type: ignore[arg-type]
    if not late_directory:
        view.set_directory(REGIONS, nodes)
    for number, (*_, outside, outside_age) in enumerate(fleet):
        if outside is not None:
            view.put_outside(f"node-{number}", outside, received=NOW - outside_age)
    view.set_directory(REGIONS, nodes)
    view.silence.blind_since = NOW - 50 if held else None
    for node, known in nodes.items():
        if known is not None:
            view.put_record(node.node_id, known[0], received=NOW - known[1])
    view.rebuild(now=NOW, wall=AT)
    healths, eligible = view.health_counts(), view.eligible_counts()
    grouped = nodes_by_region(view.states(now=NOW))
    for region in REGIONS:
        states = grouped.get(region.slug, [])
        told = {health: healths[region.slug, health.value] for health in Health}
        assert told == {health: sum(state.verdict.health is health for state in states) for health in Health}
        assert eligible[region.slug] == sum(state.eligible for state in states)
        contenders = {each.node_id for each in view.table.regions[region.slug].contenders}
        assert contenders >= {state.node.node_id for state in states if state.eligible and state.verdict.health is Health.UP}


def test_at_most_a_quarter_of_a_region_is_suspect_and_those_heard_last_are_spared() -> None:
    view = view_of(fleet([0.5] * 4 + [6.0, 7.0, 8.0, 9.0]))
    assert [each.node_id for each in view.table.regions["eu-central"].contenders] == [f"node-{n:03}" for n in range(6)]


def test_a_node_whose_report_is_overdue_is_compared_last() -> None:
    empty, busy = make_record(), make_record(report=make_report(load=make_load(transmit_bits_per_second=6e8)))
    nodes: dict[Node, tuple[NodeRecord, float] | None] = {make_node("empty"): (empty, 2.6)}
    nodes |= {make_node(f"busy-{number}"): (busy, 0.5) for number in range(2)}
    assert "empty" not in chosen_ids(view_of(nodes), 50)
    view = view_of(nodes)
    view.seen_at = NOW - 0.9  # a report of this moment would not be known here yet
    view.rebuild(now=NOW, wall=AT)
    assert set(chosen_ids(view, 50)) == {"empty"}
    alone = view_of({node: known for node, known in nodes.items() if node.node_id == "empty"})
    assert set(chosen_ids(alone, 3)) == {"empty"}


def test_regions_have_their_own_quarter() -> None:
    nodes = fleet([0.5] * 4) | fleet([6.0, 7.0, 0.5, 0.5], region="us-east", name="far")
    found = view_of(nodes).table.regions
    assert len(found["eu-central"].contenders) == 4
    assert [each.node_id for each in found["us-east"].contenders] == ["far-000", "far-002", "far-003"]


def test_when_most_of_the_fleet_is_silent_at_once_nobody_is_removed() -> None:
    nodes = fleet([20.0] * 9 + [0.5]) | fleet([20.0] * 9 + [0.5], region="us-east", name="far")
    view = view_of(nodes)
    assert view.table.held
    assert [len(view.table.regions[slug].contenders) for slug in ("eu-central", "us-east")] == [10, 10]
    states = view.states(now=NOW)
    assert {state.verdict.reason for state in states if (state.age_seconds or 0) > 1} == {HealthReason.HELD}


def test_bad_news_and_intents_count_while_silence_is_held() -> None:
    nodes = fleet([20.0] * 10) | fleet([20.0] * 10, region="us-east", name="far")
    nodes[make_node("bye", region="us-east")] = (make_record(report=make_report(goodbye=True)), 20.0)
    nodes[make_node("drained", region="us-east", intent=Intent.DRAINING)] = (make_record(), 20.0)
    assert {each.node_id[:3] for each in view_of(nodes).table.regions["us-east"].contenders} == {"far"}


def test_nodes_that_died_one_by_one_do_not_make_a_dead_region_a_fault_of_ours() -> None:
    """The only node of a third region died five minutes ago; now the biggest region goes dark."""
    nodes = fleet([20.0] * 12) | fleet([0.5] * 7, region="us-east", name="far") | fleet([300.0], region="eu-west", name="old")
    view = view_of(nodes)
    assert not view.table.held
    assert view.table.regions["eu-central"].contenders == []


def test_a_hold_lets_go_little_by_little_also_when_nothing_is_heard_ever_again() -> None:
    nodes = fleet([1.0] * 40) | fleet([1.0] * 40, region="us-east", name="far")
    view = view_of(nodes)
    left: dict[int, int] = {}
    for seconds in (10, 300, 599, 660, 720, 840, 960):
        for step in range(max(left, default=0), seconds + 1):
            view.rebuild(now=NOW + step, wall=AT)
        left[seconds] = sum(len(region.contenders) for region in view.table.regions.values())
    assert [left[seconds] for seconds in (10, 300, 599)] == [80, 80, 80]
    assert 55 < left[660] < 75
    assert 35 < left[720] < 60
    assert 5 < left[840] < 25
    assert left[960] == 0


@pytest.mark.parametrize("nodes", [2, 3])
def test_in_a_small_region_too_held_nodes_get_their_shares_by_capacity(nodes: int) -> None:
    view = FleetView(policy=POLICY)
    known = fleet([40.0] * nodes)
    view.set_directory(REGIONS, known)
    view.silence.blind_since = NOW - 50
    for node in known:
        view.put_record(node.node_id, make_record(), received=NOW - 40)
    view.rebuild(now=NOW, wall=AT)
    counts = Counter(chosen_ids(view, 1500))
    assert all(count / 1500 == pytest.approx(1 / nodes, abs=0.05) for count in counts.values())
    assert len(counts) == nodes


def test_a_suspect_node_with_room_is_used_before_a_region_is_full() -> None:
    full = make_record(report=make_report(load=make_load(transmit_bits_per_second=1.2 * 877_169_562)))
    view = view_of({make_node("full"): (full, 0.5), make_node("late"): (make_record(), 6.0)})
    chosen = select(view.table, ranked=None, fixed="eu-central", weight=WEIGHT, draw=random.random, policy=POLICY)
    assert isinstance(chosen, Selection)
    assert (chosen.contenders[0].node_id, chosen.node_reason) == ("late", NodeReason.SUSPECT)


def test_a_region_that_is_really_down_is_down() -> None:
    view = view_of(fleet([20.0] * 10) | fleet([0.5] * 10, region="us-east", name="far"))
    assert not view.table.held
    refused = select(view.table, ranked=None, fixed="eu-central", weight=WEIGHT, draw=random.random, policy=POLICY)
    assert refused is Refusal.REGION_DOWN


def test_a_node_that_was_held_for_long_gets_its_share_by_capacity_alone() -> None:
    """Its report of long ago says that it is empty."""
    full = make_record(report=make_report(load=make_load(transmit_bits_per_second=5e8)))
    nodes = fleet([0.5] * 9) | fleet([40.0] * 10, region="us-east", name="far")
    nodes = {node: (full, known[1]) for node, known in nodes.items() if known is not None}
    nodes[make_node("empty")] = (make_record(), 40.0)
    view = FleetView(policy=POLICY)
    view.set_directory(REGIONS, nodes)
    view.silence.blind_since = NOW - 50
    for node, known in nodes.items():
        if known is not None:
            view.put_record(node.node_id, known[0], received=NOW - known[1])
    view.rebuild(now=NOW, wall=AT)
    assert chosen_ids(view, 2000).count("empty") / 2000 == pytest.approx(0.1, abs=0.03)
    chosen = select(view.table, ranked=None, fixed="us-east", weight=WEIGHT, draw=random.random, policy=POLICY)
    assert isinstance(chosen, Selection)
    assert chosen.node_reason is NodeReason.HELD


class Hole:
    """A region of four nodes, one of which reports every two seconds and shows no allocation, whatever it is given."""

    def __init__(self) -> None:
        self.view = FleetView(policy=POLICY)
        self.nodes = [make_node(f"node-{number}") for number in range(4)]
        self.view.set_directory(REGIONS, self.nodes)
        self.sequence = 0
        self.now = NOW
        self.started = {node.node_id: 100 for node in self.nodes}

    def pass_two_seconds(
        self, *, placed: int, dead: tuple[str, ...] = ("node-0",), silent: tuple[str, ...] = (), live: int = 0
    ) -> None:
        self.sequence += 1
        self.now += 2.0
        for node in self.nodes:
            if node.node_id not in dead:
                self.started[node.node_id] += placed
            if node.node_id in silent:
                continue
            load = make_load(allocations=live)
            report = make_report(sequence=self.sequence, allocations_started=self.started[node.node_id], load=load)
            self.view.put_record(node.node_id, make_record(report=report), received=self.now)
        self.view.rebuild(now=self.now, wall=AT)
        for node_id in {each.node_id for each in self.view.table.regions["eu-central"].contenders}:
            for _ in range(placed):
                self.view.place(node_id, ONE)

    @property
    def offered(self) -> list[str]:
        region = self.view.table.regions.get("eu-central")
        return [] if region is None else [each.node_id for each in region.contenders]


def test_a_node_that_shows_none_of_what_it_was_given_is_suspect_for_half_a_minute() -> None:
    hole = Hole()
    for _ in range(5):
        hole.pass_two_seconds(placed=5)
    assert hole.offered == ["node-0", "node-1", "node-2", "node-3"]
    while "node-0" in hole.offered:
        hole.pass_two_seconds(placed=5)
        assert hole.now < NOW + 20
    state = hole.view.state(hole.nodes[0], now=hole.now)
    assert (state.verdict.health, state.verdict.reason) == (Health.SUSPECT, HealthReason.UNPRODUCTIVE)
    since = hole.now
    while "node-0" not in hole.offered:
        hole.pass_two_seconds(placed=5)
    assert hole.now - since == pytest.approx(30, abs=3)
    # It was no better, and is suspect for longer.
    while "node-0" in hole.offered:
        hole.pass_two_seconds(placed=5)
    since = hole.now
    while "node-0" not in hole.offered:
        hole.pass_two_seconds(placed=5)
    assert hole.now - since == pytest.approx(60, abs=3)


def test_a_new_allocation_clears_the_suspicion() -> None:
    hole = Hole()
    hole.pass_two_seconds(placed=5)
    while "node-0" in hole.offered:
        hole.pass_two_seconds(placed=5)
    hole.pass_two_seconds(placed=5, dead=())
    assert "node-0" in hole.offered


def test_a_slow_trickle_that_disappears_is_seen_in_the_end() -> None:
    hole = Hole()
    while "node-0" in hole.offered or hole.sequence == 0:
        hole.pass_two_seconds(placed=1)
        assert hole.now < NOW + 60
    assert hole.now > NOW + 24


def test_whom_somebody_reached_is_no_black_hole_whatever_is_counted() -> None:
    """The agent cannot read coturn's log, so its count stands still."""
    hole = Hole()
    for step in range(20):
        hole.pass_two_seconds(placed=5, live=step)
    assert "node-0" in hole.offered


def test_a_black_hole_stays_suspect_beside_a_node_that_is_late() -> None:
    hole = Hole()
    hole.pass_two_seconds(placed=5)
    while "node-0" in hole.offered:
        hole.pass_two_seconds(placed=5)
    for _ in range(3):
        hole.pass_two_seconds(placed=5, silent=("node-1",))
    assert "node-0" not in hole.offered


def test_a_busy_region_of_agents_that_do_not_count_makes_nobody_suspect() -> None:
    view = view_of(fleet([0.5] * 4))
    for step in range(10):
        for node in view.nodes:
            for _ in range(20):
                view.place(node, ONE)
            record = make_record(report=make_report(sequence=8 + step))
            view.put_record(node, record, received=NOW + 2 * step)
        view.rebuild(now=NOW + 2 * step, wall=AT + timedelta(seconds=2 * step))
    assert len(view.table.regions["eu-central"].contenders) == 4


def shares(view: FleetView) -> dict[str, float]:
    """What part of the draws each node gets, by 3,000 choices with the same draws."""
    region = view.table.regions["eu-central"]
    if not region.size:
        return {}
    draw = random.Random(7).random
    counts = Counter(region.lists.contenders[region.sample(1, draw)[0]].node_id for _ in range(3000))
    return {node_id: count / 3000 for node_id, count in counts.items()}


def filled(*fills: float) -> FleetView:
    nodes: dict[Node, tuple[NodeRecord, float] | None] = {}
    for number, fill in enumerate(fills):
        load = make_load(transmit_bits_per_second=fill * 877_169_562)
        nodes[make_node(f"node-{number:03}")] = (make_record(report=make_report(load=load)), 0.5)
    return view_of(nodes)


def test_a_full_node_is_drawn_less_and_less_and_nobody_is_left_alone_with_all_requests() -> None:
    assert shares(filled(0.90, *[0.96] * 9))["node-000"] < 0.13
    drawn = [shares(filled(fill, *[0.5] * 9)).get("node-000", 0.0) for fill in (0.9, 0.98, 1.02, 1.06, 1.1, 1.2)]
    assert drawn == sorted(drawn, reverse=True)
    assert drawn[0] == pytest.approx(0.1, abs=0.02)
    assert drawn[-2:] == [0.0, 0.0]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 1.3), st.lists(st.floats(0.0, 1.3), min_size=3, max_size=8))
def test_a_small_change_of_load_changes_the_draws_a_little(fill: float, others: list[float]) -> None:
    before, after = (shares(filled(each, *others)) for each in (fill, fill + 0.004))
    moved = sum(abs(before.get(node, 0.0) - after.get(node, 0.0)) for node in {*before, *after}) / 2
    full = all(each >= 1.1 for each in (fill + 0.004, *others)) or not others
    assert moved <= 0.06 or full


def test_when_all_are_full_those_that_may_still_take_some_are_used() -> None:
    busy = make_record(report=make_report(load=make_load(cpu_ratio=1.0)))
    view = view_of({make_node("busy-1"): (busy, 0.5), make_node("busy-2"): (busy, 0.5)})
    chosen = select(view.table, ranked=None, fixed="eu-central", weight=WEIGHT, draw=random.random, policy=POLICY)
    assert isinstance(chosen, Selection)
    assert chosen.node_reason is NodeReason.OVERFULL
    over = filled(1.2, 1.3)
    refused = select(over.table, ranked=None, fixed="eu-central", weight=WEIGHT, draw=random.random, policy=POLICY)
    assert refused is Refusal.REGION_SATURATED
