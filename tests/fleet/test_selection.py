"""Choosing a region and a node."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.model import Capacity, CoturnState, Health, Ineligibility, Intent, Node, NodeRecord
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import Reason, Refusal, Selection, Trace, Weight, select
from controlplane.fleet.table import Draw
from controlplane.fleet.view import FleetView
from tests.builders import AT, failed_probe, make_load, make_node, make_record, make_region, make_report

POLICY = Policy()
NOW = 1000.0
WEIGHT = Conversion().weight(None)

FRANKFURT = make_region("eu-central")
PARIS = make_region("eu-west", latitude=48.86, longitude=2.35, country="FR")
ASHBURN = make_region("us-east", latitude=39.04, longitude=-77.49, country="US")
SINGAPORE = make_region("ap-southeast", latitude=1.35, longitude=103.82, country="SG")
REGIONS = [FRANKFURT, PARIS, ASHBURN, SINGAPORE]


def fixed_draws(*numbers: float) -> Draw:
    return itertools.cycle(numbers).__next__


def loaded(utilisation: float, **changes: object) -> NodeRecord:
    """A record of a node of 1 Gbit/s that is filled to that share of its safe capacity."""
    load = make_load(transmit_bits_per_second=utilisation * 877_169_562)
    return make_record(report=make_report(load=load, **changes))


def view_of(nodes: dict[Node, NodeRecord | None], *, ages: dict[str, float] | None = None) -> FleetView:
    view = FleetView(policy=POLICY)
    view.set_directory(REGIONS, nodes)
    for node, record in nodes.items():
        if record is not None:
            view.put_record(node.node_id, record, received=NOW - (ages or {}).get(node.node_id, 0.5))
    view.rebuild(now=NOW, wall=AT)
    return view


def one_per_region(**utilisation: float) -> FleetView:
    """eu_central=0.5 and so on; a region that is not named has no node."""
    return view_of({make_node(f"node-{name}", region=name.replace("_", "-")): loaded(fill) for name, fill in utilisation.items()})


def choose(
    view: FleetView, *, near: tuple[float, float] | None = (50.0, 8.0), draw: Draw | None = None, **hints: str
) -> Selection | Refusal:
    ranked = view.rank(*near) if near is not None else None
    if "preferred" in hints and hints["preferred"] in view.regions:
        region = view.regions[hints["preferred"]]
        ranked = view.rank(region.latitude, region.longitude)
    return select(view.table, ranked=ranked, weight=WEIGHT, draw=draw or fixed_draws(0.5), policy=POLICY, **hints)  # type: ignore[arg-type]


def outcome(selected: Selection | Refusal) -> tuple[str, str] | Refusal:
    return selected if isinstance(selected, Refusal) else (selected.region.region.slug, selected.reason.value)


@pytest.mark.parametrize(
    ("fill", "hints", "expected"),
    [
        ({"eu_central": 0.1, "us_east": 0.1}, {}, ("eu-central", "nearest")),
        ({"us_east": 0.1}, {}, ("us-east", "fallback")),
        ({"eu_central": 0.96, "us_east": 0.1}, {}, ("us-east", "spill")),
        ({"eu_central": 0.1, "us_east": 0.1}, {"fixed": "us-east"}, ("us-east", "fixed")),
        ({"eu_central": 0.1}, {"fixed": "us-east"}, Refusal.REGION_DOWN),
        ({"eu_central": 0.1}, {"fixed": "atlantis"}, Refusal.REGION_UNKNOWN),
        ({"us_east": 1.0}, {"fixed": "us-east"}, ("us-east", "fixed")),
        ({"us_east": 1.2}, {"fixed": "us-east"}, Refusal.REGION_SATURATED),
        ({"eu_central": 0.1, "us_east": 0.1}, {"preferred": "us-east"}, ("us-east", "preferred")),
        ({"eu_central": 0.1, "ap_southeast": 0.1}, {"preferred": "us-east"}, ("eu-central", "fallback")),
        ({"eu_central": 0.1, "us_east": 0.96}, {"preferred": "us-east"}, ("eu-central", "spill")),
        ({"eu_central": 0.1, "us_east": 0.1}, {"preferred": "atlantis"}, ("eu-central", "nearest")),
        ({}, {}, Refusal.FLEET_UNAVAILABLE),
        ({"eu_central": 1.2, "us_east": 1.2}, {}, Refusal.FLEET_UNAVAILABLE),
        ({"eu_central": 1.05, "us_east": 1.0}, {}, ("us-east", "spill")),
    ],
)
def test_the_table_of_region_choices(fill: dict[str, float], hints: dict[str, str], expected: tuple[str, str] | Refusal) -> None:
    assert outcome(choose(one_per_region(**fill), **hints)) == expected  # type: ignore[arg-type]


def test_a_region_that_the_table_does_not_have_yet_is_passed_over() -> None:
    view = one_per_region(us_east=0.1)
    view.set_directory([*REGIONS, make_region("brand-new", latitude=50.0, longitude=8.0)], view.nodes.values())
    assert outcome(choose(view)) == ("us-east", Reason.FALLBACK)
    assert outcome(choose(view, preferred="brand-new")) == ("us-east", Reason.FALLBACK)


def test_a_region_whose_relay_ports_are_taken_spills() -> None:
    full = make_record(report=make_report(load=make_load(allocations=9_750)))
    view = view_of({make_node("full", region="eu-central"): full, make_node("free", region="eu-west"): loaded(0.2)})
    generator = random.Random(6)
    regions = Counter(outcome(choose(view, near=(49.6, 6.1), draw=generator.random))[0] for _ in range(300))
    assert regions == {"eu-west": 300}


def test_a_busy_cpu_makes_no_region_spill() -> None:
    busy = make_record(report=make_report(load=make_load(cpu_ratio=1.0)))
    view = view_of({make_node("busy", region="eu-central"): busy, make_node("idle", region="us-east"): loaded(0.0)})
    assert outcome(choose(view)) == ("eu-central", Reason.NEAREST)


def test_an_unknown_place_gets_the_least_loaded_region() -> None:
    view = one_per_region(eu_central=0.5, us_east=0.1)
    assert outcome(choose(view, near=None)) == ("us-east", Reason.LEAST_LOADED)


def test_equally_near_regions_are_one_band_and_the_emptier_one_is_taken() -> None:
    # Frankfurt and Paris are within 15 ms of each other for a caller in Luxembourg.
    view = one_per_region(eu_central=0.6, eu_west=0.2, us_east=0.0)
    assert outcome(choose(view, near=(49.6, 6.1))) == ("eu-west", Reason.NEAREST)


DRAWS = 250


def spilled_share(near: float, far: float = 0.1) -> float:
    """Over evenly spread draws: exact to one of them."""
    view = one_per_region(eu_central=near, us_east=far)
    chosen = [choose(view, draw=fixed_draws((number + 0.5) / DRAWS)) for number in range(DRAWS)]
    return sum(each.reason is Reason.SPILL for each in chosen if isinstance(each, Selection)) / DRAWS


def test_the_share_that_spills_grows_with_the_load() -> None:
    # A choice counts its own placement, so that 250 of them on one table move the load by a tenth.
    shares = [spilled_share(fill) for fill in (0.70, 0.80, 0.85, 0.90, 0.95)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 1.09), st.floats(0.0, 0.01), st.floats(0.0, 0.9))
def test_a_small_change_of_a_regions_load_moves_a_small_share_of_its_callers(fill: float, more: float, far: float) -> None:
    moved = spilled_share(fill + more, far) - spilled_share(fill, far)
    span = POLICY.full_from_utilisation - POLICY.spill_from_utilisation
    assert -1 / DRAWS <= moved <= more / span + 2 / DRAWS


def test_the_less_full_of_three_nodes_is_chosen() -> None:
    view = view_of({make_node(f"node-{fill}"): loaded(fill / 10) for fill in (5, 3, 7)})
    chosen = choose(view)
    assert isinstance(chosen, Selection)
    assert chosen.contenders[0].node_id == "node-3"


def test_a_node_is_sampled_by_its_safe_capacity() -> None:
    small = Capacity(bits_per_second=2.5e8, allocations=10_000, source="stated")
    nodes: dict[Node, NodeRecord | None] = {make_node(f"big-{n}"): make_record() for n in range(10)}
    nodes |= {make_node(f"small-{n}"): make_record(report=make_report(capacity=small)) for n in range(10)}
    table = view_of(nodes).table.regions["eu-central"]
    generator = random.Random(2)
    drawn = Counter(table.lists.contenders[table.sample(1, generator.random)[0]].node_id[:3] for _ in range(20_000))
    assert drawn["big"] / drawn["sma"] == pytest.approx(877 / 193, rel=0.08)


def test_two_servers_are_two_nodes() -> None:
    view = view_of({make_node(f"node-{n}"): make_record() for n in range(5)})
    chosen = select(view.table, ranked=None, servers=2, weight=WEIGHT, draw=random.Random(3).random, policy=POLICY)
    assert isinstance(chosen, Selection)
    assert len({each.node_id for each in chosen.contenders}) == 2


def test_two_servers_of_a_region_with_one_node_are_that_one() -> None:
    chosen = select(
        one_per_region(eu_central=0.1).table, ranked=None, servers=2, weight=WEIGHT, draw=fixed_draws(0.5), policy=POLICY
    )
    assert isinstance(chosen, Selection)
    assert len(chosen.contenders) == 1


def test_a_flash_crowd_between_two_reports_is_spread() -> None:
    view = view_of({make_node(f"node-{n}"): loaded(0.1 * (n == 0)) for n in range(20)})
    generator = random.Random(4)
    counts: Counter[str] = Counter()
    for _ in range(2000):
        chosen = choose(view, draw=generator.random)
        assert isinstance(chosen, Selection)
        counts[chosen.contenders[0].node_id] += 1
        view.place(chosen.contenders[0].node_id, Weight(bits_per_second=0.3e6, allocations=1.0))
    assert max(counts.values()) < 1.3 * 2000 / 20
    view.rebuild(now=NOW + 1, wall=AT)
    fills = [state.utilisation for state in view.states(now=NOW + 1)]
    assert max(fills) - min(fills) < 0.12


def test_suspect_nodes_serve_only_when_nothing_better_is_there() -> None:
    fresh, late = make_node("fresh"), make_node("late")
    with_both = view_of({fresh: loaded(0.9), late: loaded(0.0)}, ages={"late": 6.0})
    chosen = choose(with_both)
    assert isinstance(chosen, Selection)
    assert chosen.contenders[0].node_id == "fresh"
    alone = choose(view_of({late: loaded(0.0)}, ages={"late": 6.0}))
    assert isinstance(alone, Selection)
    assert alone.contenders[0].node_id == "late"


def test_a_busy_cpu_makes_a_node_the_worse_choice_but_never_refuses() -> None:
    busy = make_record(report=make_report(load=make_load(cpu_ratio=1.0)))
    with_another = choose(view_of({make_node("busy"): busy, make_node("idle"): loaded(0.5)}))
    assert isinstance(with_another, Selection)
    assert with_another.contenders[0].node_id == "idle"
    assert outcome(choose(view_of({make_node("busy"): busy}), fixed="eu-central")) == ("eu-central", Reason.FIXED)


def test_credentials_that_nobody_used_yet_do_not_fill_the_relay_ports() -> None:
    """An application that asks in a loop gets credentials; a node whose ports really are taken refuses."""
    few_ports = Capacity(bits_per_second=1e9, allocations=200, source="stated")
    node = make_node("small")
    view = view_of({node: make_record(report=make_report(capacity=few_ports))})
    for _ in range(1000):
        view.place("small", Weight(bits_per_second=0.1e6, allocations=1.0))
    view.rebuild(now=NOW, wall=AT)
    assert outcome(choose(view, fixed="eu-central")) == ("eu-central", Reason.FIXED)
    full = make_record(report=make_report(capacity=few_ports, load=make_load(allocations=200)))
    assert outcome(choose(view_of({node: full}), fixed="eu-central")) is Refusal.REGION_SATURATED


def test_a_returning_node_gets_a_quarter_of_its_share_at_first() -> None:
    proved = make_record(proved_at=AT)
    later = make_record(proved_at=AT - timedelta(seconds=60))
    view = view_of({make_node("new"): proved, make_node("old"): later})
    lists = view.table.regions["eu-central"].lists
    assert [each.node_id for each in lists.contenders] == ["new", "old"]
    new, both = lists.cumulative
    assert new / (both - new) == pytest.approx(0.25)


def test_fixed_draws_give_a_fixed_choice_in_any_order_of_nodes() -> None:
    nodes = [make_node(f"node-{n}") for n in range(30)]
    fills = {node.node_id: (n * 7 % 30) / 40 for n, node in enumerate(nodes)}
    forwards = view_of({node: loaded(fills[node.node_id]) for node in nodes})
    again = view_of({node: loaded(fills[node.node_id]) for node in nodes})
    backwards = view_of({node: loaded(fills[node.node_id]) for node in reversed(nodes)})

    def picks(view: FleetView) -> list[str]:
        generator = random.Random(5)
        return [
            chosen.contenders[0].node_id for _ in range(200) if isinstance(chosen := choose(view, draw=generator.random), Selection)
        ]

    assert picks(forwards) == picks(again) == picks(backwards)


def test_the_trace_tells_who_was_looked_at() -> None:
    trace = Trace(regions=[], nodes=[])
    view = one_per_region(eu_central=0.96, us_east=0.1)
    select(view.table, ranked=view.rank(50, 8), weight=WEIGHT, draw=fixed_draws(0.5), policy=POLICY, trace=trace)
    assert [(each.region, each.outcome) for each in trace.regions] == [("eu-central", "spilled"), ("us-east", "accepted")]
    assert [each.node_id for each in trace.nodes] == ["node-us_east"]


REPORTS = [
    make_report(),
    make_report(coturn_state=CoturnState.DEAD),
    make_report(probe=failed_probe()),
    make_report(clock_offset_seconds=30),
    make_report(goodbye=True),
    make_report(secret_versions=()),
    make_report(secret_versions=(9,)),
    make_report(listeners=()),
    make_report(load=make_load(cpu_ratio=1.0)),
]
fleets = st.lists(
    st.tuples(
        st.sampled_from(REGIONS), st.sampled_from(Intent), st.sampled_from([None, *REPORTS]), st.integers(0, 3), st.floats(0, 30)
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(
    fleets,
    st.sampled_from([{}, {"fixed": "us-east"}, {"preferred": "eu-west"}, {"fixed": "nowhere"}]),
    st.booleans(),
    st.integers(0, 2**32),
    st.integers(1, 2),
)
def test_only_eligible_nodes_are_selected(
    fleet: list[tuple[object, Intent, object, int, float]], hints: dict[str, str], known_place: bool, seed: int, servers: int
) -> None:
    nodes: dict[Node, NodeRecord | None] = {}
    ages = {}
    for number, (region, intent, report, streak, age) in enumerate(fleet):
        node = make_node(f"node-{number}", region=region.slug, intent=intent)  # type: ignore[attr-defined]
        nodes[node] = None if report is None else make_record(report=report, good_streak=streak)  # type: ignore[arg-type]
        ages[node.node_id] = age
    view = view_of(nodes, ages=ages)
    states = {state.node.node_id: state for state in view.states(now=NOW)}
    chosen = select(
        view.table,
        ranked=view.rank(50, 8) if known_place else None,
        servers=servers,
        weight=WEIGHT,
        draw=random.Random(seed).random,
        policy=POLICY,
        **hints,  # type: ignore[arg-type]
    )
    if isinstance(chosen, Refusal):
        if chosen is Refusal.FLEET_UNAVAILABLE:
            assert not any(state.eligible for state in states.values())
        return
    for contender in chosen.contenders:
        state = states[contender.node_id]
        # A saturated node may be the last resort; nothing else may be wrong with it.
        assert set(state.ineligibility) <= {Ineligibility.SATURATED}
        assert state.verdict.health in {Health.UP, Health.SUSPECT}
        assert state.node.intent is Intent.ACTIVE
        assert contender.secret_version == 1
    if "fixed" in hints:
        assert chosen.region.region.slug == hints["fixed"]
