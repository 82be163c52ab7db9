"""Secret versions: when one signs, when it retires, and when it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.intent import SETTLE
from controlplane.fleet.model import Node, NodeRecord
from controlplane.fleet.rotation import Step, VersionState, needed_until, next_step, state_of
from tests.builders import AT, make_node, make_record, make_report

SOON, LATER = AT + timedelta(seconds=30), AT + timedelta(hours=1)


def holding(*versions: int) -> NodeRecord:
    return make_record(report=make_report(secret_versions=versions))


def node(*versions: int, **changes: Any) -> Node:
    return make_node(secret_versions=versions, **changes)


@pytest.mark.parametrize(
    ("wanted", "loaded", "states"),
    [
        ((1,), (1,), {1: "signing"}),
        ((1, 2), (1,), {1: "signing", 2: "staged"}),
        ((1, 2), (1, 2), {1: "verifying", 2: "signing"}),
        ((3,), (2,), {3: "staged"}),
        ((1, 2), (), {1: "staged", 2: "staged"}),
    ],
)
def test_what_a_version_is_for(wanted: tuple[int, ...], loaded: tuple[int, ...], states: dict[int, str]) -> None:
    found = {version: state_of(version, node(*wanted), holding(*loaded)) for version in wanted}
    assert found == {version: VersionState(state) for version, state in states.items()}


SIGNED = AT - SETTLE


@pytest.mark.parametrize(
    ("of", "record", "expiries", "expected"),
    [
        (node(1), holding(1), {}, None),
        (node(1, rotation_wanted=True), holding(1), {}, Step(versions=(1, 2))),
        # Not before coturn has it.
        (node(1, 2), holding(1), {}, None),
        (node(1, 2), None, {}, None),
        (node(1, 2), holding(1, 2), {}, Step(signing_since=AT)),
        # Another replica may not have seen yet that the new one signs.
        (node(1, 2, secret_signing_since=AT - SETTLE / 2), holding(1, 2), {}, None),
        (node(1, 2, secret_signing_since=SIGNED), holding(1, 2), {1: SOON}, None),
        (node(1, 2, secret_signing_since=SIGNED), holding(1, 2), {1: AT}, Step(versions=(2,))),
        (node(1, 2, secret_signing_since=SIGNED), holding(1, 2), {2: LATER}, Step(versions=(2,))),
        # The agent lost it meanwhile.
        (node(1, 2, secret_signing_since=SIGNED), holding(1), {}, None),
        # A record that came late.
        (node(2), holding(2), {1: SOON}, Step(versions=(1, 2))),
        (node(2, 3), holding(2), {1: SOON}, Step(versions=(1, 2, 3))),
        # After an emergency nothing old comes back.
        (node(2, secret_floor=2), holding(2), {1: LATER}, None),
    ],
)
def test_the_table_of_steps(of: Node, record: NodeRecord | None, expiries: Mapping[int, datetime], expected: Step | None) -> None:
    assert next_step(of, record, expiries=expiries, now=AT) == expected


def test_until_when_the_older_ones_are_needed() -> None:
    assert needed_until(node(1, 2), expiries={1: SOON, 2: LATER}) == SOON
    assert needed_until(node(2), expiries={1: SOON, 2: LATER}) is None


@given(
    st.sets(st.integers(1, 4), min_size=1),
    st.sets(st.integers(1, 4)),
    st.dictionaries(st.integers(1, 4), st.integers(-60, 60)),
    st.booleans(),
    st.none() | st.integers(-60, 0),
)
def test_no_version_that_is_needed_is_ever_taken(
    wanted: set[int], loaded: set[int], seconds: dict[int, int], queued: bool, since: int | None
) -> None:
    expiries = {version: AT + timedelta(seconds=each) for version, each in seconds.items()}
    before = node(
        *sorted(wanted),
        rotation_wanted=queued,
        secret_signing_since=None if since is None else AT + timedelta(seconds=since),
    )
    step = next_step(before, holding(*sorted(loaded)), expiries=expiries, now=AT)
    if step is None or step.versions is None:
        return
    assert max(step.versions) >= max(wanted)
    for version, until in expiries.items():
        if until > AT and version in wanted:
            assert version in step.versions
    # Whatever signs now goes on signing, or a newer one that coturn has already.
    signing = max(wanted & loaded, default=None)
    if signing is not None:
        assert max(set(step.versions) & loaded) >= signing
