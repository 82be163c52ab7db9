"""Whose fault silence is, and for how long it is held."""

from __future__ import annotations

import pytest

from controlplane.fleet.policy import Policy
from controlplane.fleet.silence import Heard, Silence, loss_is_ours, release_order

POLICY = Policy()


def heard(**regions: tuple[int, int]) -> dict[str, Heard]:
    return {slug: Heard(expected=expected, fresh=fresh) for slug, (expected, fresh) in regions.items()}


@pytest.mark.parametrize(
    ("regions", "ours"),
    [
        (heard(eu=(10, 1), us=(10, 2)), True),
        (heard(eu=(10, 5), us=(10, 5)), False),  # half is not over half
        (heard(eu=(10, 0), us=(10, 10)), False),  # one region is away: it is really down
        (heard(eu=(30, 0), us=(10, 10)), False),  # also when it is most of the fleet
        (heard(eu=(3, 0), us=(3, 0)), False),  # a small fleet may die at once
        (heard(eu=(4, 0), us=(4, 0)), True),
        (heard(eu=(20, 0)), False),  # one region alone cannot tell
        ({}, False),
    ],
)
def test_whose_fault_a_loss_of_reports_is(regions: dict[str, Heard], ours: bool) -> None:
    assert loss_is_ours(regions, policy=POLICY) is ours


LOST, HALF, WELL = heard(eu=(10, 1), us=(10, 1)), heard(eu=(10, 6), us=(10, 6)), heard(eu=(10, 9), us=(10, 9))


def test_the_hold_ends_when_most_were_heard_again_for_a_while() -> None:
    silence = Silence(policy=POLICY)
    assert silence.held_share(now=100.0) == 0.0
    silence.observe(LOST, now=100.0)
    assert silence.held_share(now=100.0) == 1.0
    for now, regions in ((110.0, HALF), (120.0, WELL), (130.0, HALF), (140.0, WELL), (154.0, WELL)):
        silence.observe(regions, now=now)
        assert silence.held_share(now=now) == 1.0
    silence.observe(WELL, now=155.0)
    assert silence.held_share(now=155.0) == 0.0


def test_a_hold_lets_go_of_a_fifth_a_minute_after_ten_minutes() -> None:
    silence = Silence(policy=POLICY, blind_since=0.0)
    assert [round(silence.held_share(now=now), 3) for now in (0, 600, 660, 720, 900, 1000)] == [1.0, 1.0, 0.8, 0.6, 0.0, 0.0]


def test_blindness_and_loss_are_one_hold_that_began_with_the_first() -> None:
    silence = Silence(policy=POLICY, blind_since=50.0)
    silence.observe(LOST, now=400.0)
    assert silence.since() == 50.0
    silence.blind_since = None
    assert silence.since() == 400.0


def test_every_replica_lets_the_same_nodes_go_first() -> None:
    ids = [f"node-{number}" for number in range(1000)]
    order = release_order(ids)
    assert order.tolist() == release_order(ids).tolist()
    assert ((order >= 0) & (order < 1)).all()
    assert ((order < 0.8).sum() / 1000) == pytest.approx(0.8, abs=0.05)
