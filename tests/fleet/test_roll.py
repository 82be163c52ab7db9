"""Which node of a roll goes on, which begins, and when the roll stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.model import CoturnState, Drain, Intent, NodeRecord
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.outside import ProberPlace
from controlplane.fleet.policy import Policy
from controlplane.fleet.roll import (
    DRAIN_SLACK,
    RESTART_WITHIN,
    SERVES,
    UNDER_WAY,
    VERIFY_WITHIN,
    WAIT_AT_MOST,
    End,
    Move,
    Roll,
    RollNode,
    RollState,
    RollStep,
    is_out_of_service,
    next_moves,
    not_relaying,
    waits_for,
)
from controlplane.fleet.view import FleetView
from tests.builders import AT, failed_probe, make_load, make_node, make_record, make_region, make_report

REASON = "rolling restart of eu-central: 4.7"
NAMES = ("a", "b", "c")
GOOD = make_record()
DEAD = make_record(report=make_report(coturn_state=CoturnState.DEAD), good_streak=0)
UNPROBED = make_record(report=make_report(probe=failed_probe()), good_streak=0)
FULL = make_record(report=make_report(load=make_load(allocations=20_000)))
BUSY = make_record(report=make_report(load=make_load(cpu_ratio=1.0)))
WITHDRAWN = make_record(report=make_report(secret_versions=()), good_streak=0)
OTHER_SECRET = make_record(report=make_report(secret_versions=(9,)))
DRAIN = Drain(since_at=AT, deadline_at=AT + timedelta(hours=1), force=True)
UNFORCED = replace(DRAIN, force=False)
DRAINED = replace(DRAIN, withdrawn_at=AT, drained_at=AT)


def state(name: str, record: NodeRecord | None = GOOD, *, silent_seconds: float = 1.0, **node: Any) -> NodeState:
    view = FleetView(policy=Policy())
    made = make_node(name, name=name, **node)
    view.set_directory([make_region()], [made])
    if record is not None:
        view.put_record(name, record, received=1000.0 - silent_seconds)
    return view.state(made, now=1000.0)


def states(*changed: NodeState) -> dict[str, NodeState]:
    return {each.node.node_id: each for each in (*(state(name) for name in NAMES), *changed)}


def ours(name: str, intent: Intent, record: NodeRecord | None = GOOD, **node: Any) -> NodeState:
    """As the roll has left it."""
    drain = node.pop("drain", DRAIN if intent is Intent.DRAINING else None)
    return state(name, record, intent=intent, **{"intent_reason": REASON, "intent_at": AT, "drain": drain} | node)


def roll(*, max_unavailable: int = 1, running_since: datetime = AT, **steps: RollStep | RollNode) -> Roll:
    nodes = []
    for name in NAMES:
        step = steps.get(name, RollStep.WAITING)
        at = None if step is RollStep.WAITING else AT
        made = RollNode(node_id=name, name=name, step=step, since_at=AT, intent_at=at) if isinstance(step, RollStep) else step
        nodes.append(made)
    return Roll(
        roll_id="roll",
        region="eu-central",
        reason="4.7",
        max_unavailable=max_unavailable,
        deadline_seconds=3600,
        started_at=AT,
        started_by="token",
        running_since=running_since,
        nodes=tuple(nodes),
    )


def decided(of: Roll, seen: dict[str, NodeState], now: datetime = AT) -> list[tuple[str, str]]:
    return [
        (each.node.name, each.to.value) if isinstance(each, Move) else ("", each.state.value)
        for each in next_moves(of, seen, now=now)
    ]


DRAINING, RESTARTING, VERIFYING = RollStep.DRAINING, RollStep.RESTARTING, RollStep.VERIFYING
RETURNING, DONE, SKIPPED, FAILED, WAITING = RollStep.RETURNING, RollStep.DONE, RollStep.SKIPPED, RollStep.FAILED, RollStep.WAITING


@pytest.mark.parametrize(
    ("of", "seen", "expected"),
    [
        (roll(), states(), [("a", "draining")]),
        (roll(max_unavailable=2), states(), [("a", "draining"), ("b", "draining")]),
        (roll(max_unavailable=9), states(), [("a", "draining"), ("b", "draining"), ("c", "draining")]),
        (roll(a=DONE), states(), [("b", "draining")]),
        # One is under way: no other, however well it looks.
        (roll(a=RETURNING), states(ours("a", Intent.ACTIVE)), []),
        (roll(max_unavailable=2, a=RETURNING), states(ours("a", Intent.ACTIVE)), [("b", "draining")]),
        # What is out of service counts, and is the first: nobody loses by it.
        (roll(), states(state("c", DEAD)), [("c", "draining")]),
        (roll(), states(state("c", UNPROBED)), [("c", "draining")]),
        (roll(), states(state("b", DEAD), state("c", DEAD)), []),
        (roll(max_unavailable=2), states(state("b", DEAD), state("c", DEAD)), [("b", "draining"), ("c", "draining")]),
        (roll(c=DONE), states(state("c", DEAD)), []),
        (roll(), states(state("c", FULL)), [("c", "draining")]),
        (roll(c=DONE), states(state("c", FULL)), []),
        # A busy CPU passes.
        (roll(c=DONE), states(state("c", BUSY)), [("a", "draining")]),
        (roll(c=DONE), states(state("c", silent_seconds=8.0)), []),
        # An operator's: left as it is. While it is out, it counts.
        (roll(), states(state("b", intent=Intent.CORDONED)), [("b", "skipped")]),
        (roll(), states(state("b", intent=Intent.DRAINING, drain=DRAIN)), [("b", "skipped")]),
        (roll(b=SKIPPED), states(state("b", intent=Intent.CORDONED)), []),
        (roll(max_unavailable=2, b=SKIPPED), states(state("b", intent=Intent.CORDONED)), [("a", "draining")]),
        # Nobody is there to restart anything: it is waited for.
        (roll(), states(state("b", silent_seconds=60.0)), []),
        (roll(), states(state("b", None)), []),
        (roll(max_unavailable=2), states(state("b", None)), [("a", "draining")]),
        (roll(a=DONE, c=DONE), states(state("b", None)), []),
        # After a resumption, one that the roll itself has drained or cordoned.
        (
            roll(a=RollNode(node_id="a", name="a", since_at=AT, intent_at=AT)),
            states(ours("a", Intent.CORDONED)),
            [("a", "draining")],
        ),
        (roll(a=DONE, b=SKIPPED, c=DONE), states(), [("", "finished")]),
        (roll(a=DONE, b=DONE, c=RETURNING), states(ours("c", Intent.ACTIVE)), []),
    ],
)
def test_which_node_begins(of: Roll, seen: dict[str, NodeState], expected: list[tuple[str, str]]) -> None:
    assert decided(of, seen) == expected


def test_a_node_that_was_forgotten_is_skipped_wherever_it_was() -> None:
    seen = states()
    del seen["a"]
    assert decided(roll(), seen)[0] == ("a", "skipped")
    for step in UNDER_WAY:
        assert decided(roll(a=step), seen)[0] == ("a", "skipped")


def asked(**changes: Any) -> RollNode:
    node = RollNode(node_id="a", name="a", step=RESTARTING, since_at=AT, intent_at=AT, generation=4)
    return replace(node, **changes)


def has_restarted(generation: int, failure: str = "") -> NodeRecord:
    return make_record(report=make_report(coturn_generation=generation, coturn_failure=failure, secret_versions=()), good_streak=0)


def emptied(record: NodeRecord | None) -> NodeState:
    return ours("a", Intent.DRAINING, record, drain=DRAINED)


@pytest.mark.parametrize(
    ("node", "seen", "after", "expected", "words"),
    [
        (DRAINING, ours("a", Intent.DRAINING), timedelta(0), None, ""),
        (DRAINING, ours("a", Intent.DRAINING, WITHDRAWN, drain=DRAINED), timedelta(0), RESTARTING, ""),
        (DRAINING, ours("a", Intent.DRAINING), timedelta(hours=1), None, ""),
        (DRAINING, ours("a", Intent.DRAINING), timedelta(hours=1) + DRAIN_SLACK, FAILED, "left draining"),
        # Its allocations may run out by themselves, however long it takes; but somebody has to be there to say so.
        (DRAINING, ours("a", Intent.DRAINING, drain=UNFORCED), timedelta(hours=9), None, ""),
        (
            DRAINING,
            ours("a", Intent.DRAINING, None, drain=replace(DRAIN, force=False)),
            timedelta(hours=9),
            FAILED,
            "never_reported",
        ),
        (asked(), emptied(has_restarted(3)), timedelta(0), None, ""),
        (asked(), emptied(None), timedelta(0), None, ""),
        (asked(), emptied(has_restarted(3)), RESTART_WITHIN, FAILED, "within 7 minutes"),
        (asked(), emptied(has_restarted(4)), timedelta(0), VERIFYING, ""),
        (asked(), emptied(has_restarted(5)), RESTART_WITHIN, VERIFYING, ""),
        (
            asked(),
            emptied(has_restarted(4, "It\x00 failed.")),
            timedelta(0),
            FAILED,
            "It\ufffd failed. It is",
        ),
        (VERIFYING, ours("a", Intent.CORDONED), timedelta(0), RETURNING, ""),
        (VERIFYING, ours("a", Intent.CORDONED, BUSY), timedelta(0), RETURNING, ""),
        (VERIFYING, ours("a", Intent.CORDONED, DEAD), timedelta(0), None, ""),
        # As long as coturn has not got its secrets back.
        (VERIFYING, ours("a", Intent.CORDONED, WITHDRAWN), timedelta(0), None, ""),
        (VERIFYING, ours("a", Intent.CORDONED, OTHER_SECRET), timedelta(0), None, ""),
        (VERIFYING, ours("a", Intent.CORDONED, make_record(good_streak=1)), timedelta(0), None, ""),
        (VERIFYING, ours("a", Intent.CORDONED, UNPROBED), VERIFY_WITHIN, FAILED, "udp: no answer within 2 s"),
        (RETURNING, ours("a", Intent.ACTIVE), timedelta(0), None, ""),
        (RETURNING, ours("a", Intent.ACTIVE), SERVES, DONE, ""),
        (RETURNING, ours("a", Intent.ACTIVE, DEAD), SERVES, None, ""),
        (RETURNING, ours("a", Intent.ACTIVE, DEAD), VERIFY_WITHIN, FAILED, "coturn_dead"),
    ],
)
def test_when_a_node_goes_on(
    node: RollStep | RollNode, seen: NodeState, after: timedelta, expected: RollStep | None, words: str
) -> None:
    moves = [each for each in next_moves(roll(a=node), states(seen), now=AT + after) if isinstance(each, Move)]
    assert [each.to for each in moves] == ([] if expected is None else [expected])
    assert not moves or words in moves[0].detail
    assert not moves or moves[0].detail.endswith(".") or not words


@pytest.mark.parametrize(
    ("step", "intent"),
    [
        (DRAINING, Intent.ACTIVE),
        (DRAINING, Intent.CORDONED),
        (RESTARTING, Intent.ACTIVE),
        (VERIFYING, Intent.ACTIVE),
        (VERIFYING, Intent.DRAINING),
        (RETURNING, Intent.CORDONED),
    ],
)
def test_what_somebody_else_wants_comes_first(step: RollStep, intent: Intent) -> None:
    seen = states(ours("a", intent, intent_reason="a look", intent_at=AT + timedelta(seconds=9)))
    (move,) = next_moves(roll(a=step), seen, now=AT)
    assert isinstance(move, Move)
    assert (move.to, move.detail) == (FAILED, f"Somebody else has made it {intent} (a look) meanwhile: it is left so.")


@pytest.mark.parametrize("changed", [{"intent_reason": "a new deadline"}, {"intent_at": AT + timedelta(seconds=1)}])
def test_a_drain_that_somebody_has_asked_for_anew_is_not_the_roll_s(changed: dict[str, Any]) -> None:
    assert decided(roll(a=DRAINING), states(ours("a", Intent.DRAINING, WITHDRAWN, drain=DRAINED, **changed))) == [("a", "failed")]


def test_a_failure_lets_the_others_come_to_their_end_and_no_other_begin() -> None:
    failed = RollNode(node_id="a", name="a", step=FAILED, since_at=AT, detail="It is broken.")
    of = roll(max_unavailable=3, a=failed, b=VERIFYING)
    assert decided(of, states(ours("b", Intent.CORDONED))) == [("b", "returning")]
    assert decided(of, states(ours("b", Intent.CORDONED, DEAD))) == []
    assert next_moves(roll(max_unavailable=3, a=failed, b=DONE), states(), now=AT) == [
        End(state=RollState.STOPPED, because="a: It is broken.")
    ]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (
            state("b", None),
            "At most 1 may be out of service, and these are: b (unknown, never_reported (No heartbeat has arrived yet)).",
        ),
        (state("b", intent=Intent.CORDONED), ""),
        (state("b"), ""),
    ],
)
def test_what_it_waits_for_is_told(seen: NodeState, words: str) -> None:
    assert waits_for(roll(), states(seen)) == words


def test_it_says_who_does_not_report_and_nothing_while_something_is_under_way() -> None:
    silent = states(state("b", silent_seconds=60.0))
    assert waits_for(roll(max_unavailable=2, a=DONE, c=DONE), silent) == (
        "These do not report, so that nobody is there to restart anything: b."
    )
    assert waits_for(roll(a=VERIFYING), states(ours("a", Intent.CORDONED, DEAD))) == ""
    assert waits_for(replace(roll(), state=RollState.STOPPED), silent) == ""


def test_it_stops_when_it_could_do_nothing_for_long() -> None:
    seen = states(state("b", None))
    assert next_moves(roll(), seen, now=AT + WAIT_AT_MOST - timedelta(seconds=1)) == []
    assert next_moves(roll(running_since=AT + timedelta(seconds=1)), seen, now=AT + WAIT_AT_MOST) == []
    done = RollNode(node_id="a", name="a", step=DONE, since_at=AT + timedelta(seconds=1))
    assert next_moves(roll(a=done), seen, now=AT + WAIT_AT_MOST) == []
    (end,) = next_moves(roll(), seen, now=AT + WAIT_AT_MOST)
    assert isinstance(end, End)
    assert end.state is RollState.STOPPED
    assert end.because == f"It waited for 10 minutes. {waits_for(roll(), seen)}"
    # Not while a drain takes its time.
    assert next_moves(roll(a=DRAINING), states(ours("a", Intent.DRAINING)), now=AT + WAIT_AT_MOST) == []


def test_nobody_is_begun_while_restarted_relays_could_not_be_tried() -> None:
    at_fault = ProberPlace(ours=True, since=AT, failing=2, tried=3)
    assert next_moves(roll(), states(), now=AT, place=at_fault) == []
    assert waits_for(roll(), states(), place=at_fault).startswith("Most of the fleet fails from outside")
    assert waits_for(roll(), states(), place=replace(at_fault, ours=False)) == ""
    verifying = states(ours("a", Intent.CORDONED))
    (move,) = next_moves(roll(a=VERIFYING), verifying, now=AT, place=at_fault)
    assert isinstance(move, Move), "who is under way goes on"
    (end,) = next_moves(roll(), states(), now=AT + WAIT_AT_MOST, place=at_fault)
    assert isinstance(end, End)
    assert end.because.startswith("It waited for 10 minutes. Most of the fleet fails from outside")


def test_a_relay_that_does_not_relay_is_tried_until_its_time_is_up() -> None:
    node = RollNode(node_id="a", name="a", step=VERIFYING, since_at=AT)
    assert not_relaying(node, "refused", tells_nothing=False, now=AT + VERIFY_WITHIN - timedelta(seconds=1)) is None
    move = not_relaying(node, "nothing listens.\x1b", tells_nothing=False, now=AT + VERIFY_WITHIN)
    assert move is not None
    assert (move.to, move.detail) == (FAILED, "It was restarted, and does not relay: nothing listens.\ufffd. It is left cordoned.")
    long = VERIFY_WITHIN + WAIT_AT_MOST
    assert not_relaying(node, "no answer", tells_nothing=True, now=AT + long - timedelta(seconds=1)) is None
    late = not_relaying(node, "no answer", tells_nothing=True, now=AT + long)
    assert late is not None
    assert (late.to, late.detail) == (FAILED, "It was restarted, and could not be tried: no answer. It is left cordoned.")


@given(
    steps=st.lists(st.sampled_from([*RollStep]), min_size=3, max_size=3),
    kinds=st.lists(st.sampled_from(["good", "dead", "silent", "cordoned"]), min_size=3, max_size=3),
    most=st.integers(1, 3),
)
def test_never_more_than_allowed_are_taken_out_of_service(steps: list[RollStep], kinds: list[str], most: int) -> None:
    intents = {DRAINING: Intent.DRAINING, RESTARTING: Intent.DRAINING, VERIFYING: Intent.CORDONED}
    seen = {}
    for name, step, kind in zip(NAMES, steps, kinds, strict=True):
        if step in intents:
            seen[name] = ours(name, intents[step])
        elif kind == "cordoned":
            seen[name] = state(name, intent=Intent.CORDONED, intent_reason="mine")
        else:
            seen[name] = ours(name, Intent.ACTIVE, {"good": GOOD, "dead": DEAD, "silent": None}[kind])
    of = roll(max_unavailable=most, running_since=AT, **dict(zip(NAMES, steps, strict=True)))
    out = {name for name in NAMES if is_out_of_service(seen[name])} | {each.name for each in of.nodes if each.step in UNDER_WAY}
    moves = next_moves(of, seen, now=AT)
    begun = {each.node.name for each in moves if isinstance(each, Move) and each.node.step is WAITING and each.to is DRAINING}
    assert len(begun - out) <= max(0, most - len(out))
    assert not begun or len(out | begun) <= most
