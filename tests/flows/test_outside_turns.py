"""Whose turn it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.outside_turns import Turns


def test_the_one_that_is_due_for_longest_comes_first_and_has_one_turn() -> None:
    turns = Turns()
    turns.put("late", 5.0)
    turns.put("later", 7.0)
    assert (turns.take(4.9), turns.late_seconds(4.9)) == (None, 0.0)
    assert turns.late_seconds(9.0) == 4.0
    assert [turns.take(9.0), turns.take(9.0), turns.take(9.0)] == ["late", "later", None]
    turns.put("late", 20.0)
    assert turns.take(19.0) is None
    assert turns.take(20.0) == "late"


def test_a_turn_can_be_hastened_and_never_delayed_by_that() -> None:
    turns = Turns()
    turns.put("a", 50.0)
    turns.put("b", 3.0)
    turns.hasten(["a", "b", "nobody"], 10.0)
    assert [turns.take(10.0), turns.take(10.0), turns.take(99.0)] == ["b", "a", None]


def test_whoever_is_gone_has_no_turn() -> None:
    turns = Turns()
    turns.put("a", 1.0)
    turns.drop("a")
    assert turns.take(9.0) is None
    assert turns.late_seconds(9.0) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["put", "drop", "hasten", "take"]), st.sampled_from("abcd"), st.floats(0, 100))))
def test_whatever_happens_each_node_that_waits_is_taken_once(steps: list[tuple[str, str, float]]) -> None:
    turns, waiting = Turns(), dict[str, float]()
    for step, node, at in steps:
        match step:
            case "put":
                turns.put(node, at)
                waiting[node] = at
            case "drop":
                turns.drop(node)
                waiting.pop(node, None)
            case "hasten":
                turns.hasten([node], at)
                if node in waiting:
                    waiting[node] = min(waiting[node], at)
            case _:
                due = sorted(waiting, key=lambda each: (waiting[each], each))
                expected = due[0] if due and waiting[due[0]] <= at else None
                assert turns.take(at) == expected
                waiting.pop(expected or "", None)
