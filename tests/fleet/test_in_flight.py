"""Placements in flight: counted until the node's own reports show them, here or at another replica."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.in_flight import Increment, InFlight, report_key, unseen_shares

BOOT = "agent-boot-1"


def key(sequence: int, boot_id: str = BOOT) -> int:
    return report_key(boot_id, sequence)


def reporting(*, nodes: int = 2, until: float = 10.0) -> InFlight:
    """Every node reported every two seconds, the last time at `until`: as report number until / 2."""
    found = InFlight(nodes)
    for sequence in range(1, round(until / 2) + 1):
        for node in range(nodes):
            found.reported(node, key(sequence), 2.0 * sequence)
    return found


def bits(found: InFlight, *, now: float, own_factor: float = 1.0) -> list[float]:
    return [float(each) for each in found.totals(now=now, own_factor=own_factor)[0]]


@pytest.mark.parametrize(
    ("interval", "weights"),
    [(2.0, [0.93, 0.72, 0.49, 0.35, 0.27, 0.04, 0.0]), (5.0, [0.77, 0.33, 0.01, 0.0, 0.0, 0.0, 0.0])],
)
def test_the_weights_follow_from_the_interval_of_the_reports(interval: float, weights: list[float]) -> None:
    ages = np.arange(8, dtype=np.float64)[:, np.newaxis] * interval
    assert unseen_shares(ages)[:, 0].tolist() == pytest.approx(weights, abs=0.01)


@given(st.lists(st.floats(0.5, 30), min_size=2, max_size=8))
def test_what_is_older_is_seen_more(widths: list[float]) -> None:
    ages = np.array([0.0, *accumulate(widths)], np.float64)[:, np.newaxis]
    shares = unseen_shares(ages)[:, 0].tolist()
    assert all(-0.02 <= share <= 1.02 for share in shares)
    assert all(later <= sooner + 0.03 for sooner, later in pairwise(shares))


def test_a_placement_counts_in_full_until_its_node_reports_and_then_ever_less() -> None:
    found = reporting()
    found.place(1, 8.0, 1.0, 1.0)
    assert bits(found, now=11.9) == [0.0, 8.0]
    seen = []
    for sequence in range(6, 14):
        found.reported(1, key(sequence), 2.0 * sequence)
        seen.append(bits(found, now=2.0 * sequence)[1])
    assert seen[0] == pytest.approx(8 * 0.93, abs=0.1)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0.0


def test_what_a_silent_node_was_given_is_forgotten_after_a_minute() -> None:
    found = reporting(until=10.0)
    found.place(0, 8.0, 1.0, 1.0)
    assert bits(found, now=69.0)[0] == 8.0
    assert bits(found, now=71.0)[0] == 0.0


def test_what_is_shared_counts_the_same_at_the_other_replica() -> None:
    here, there = reporting(), reporting()
    here.place(0, 8.0, 1.0, 1.0)
    here.reported(0, key(6), 12.0)
    here.place(0, 2.0, 1.0, 1.0)
    sent = here.unshared(100)
    assert {(each.node, each.report, each.bits_per_second) for each in sent} == {(0, key(5), 8.0), (0, key(6), 2.0)}
    there.reported(0, key(6), 12.0)
    there.told(sent)
    before = bits(here, now=12.5)
    here.shared(sent)
    assert here.unshared(100) == []
    assert bits(here, now=12.5) == before == bits(there, now=12.5)


def test_what_cannot_be_shared_stands_for_every_replica() -> None:
    found = reporting()
    found.place(0, 3.0, 1.0, 1.0)
    found.told([Increment(node=0, report=key(5), bits_per_second=4.0, allocations=1.0, uses=1.0)])
    assert bits(found, now=10.5, own_factor=4.0)[0] == pytest.approx(4.0 + 4 * 3.0)


def test_a_placement_after_the_sharing_began_is_not_taken_for_shared() -> None:
    found = reporting()
    found.place(0, 3.0, 1.0, 1.0)
    sent = found.unshared(100)
    found.place(0, 5.0, 1.0, 1.0)
    found.shared(sent)
    assert [(each.bits_per_second, each.allocations) for each in found.unshared(100)] == [(5.0, 1.0)]


@pytest.mark.parametrize(
    ("report", "counted"),
    [
        (key(5), 1.0),
        (key(4), 0.93),
        (key(9), 1.0),  # not known here yet
        (key(3, "agent-boot-2"), 1.0),  # nor is this run of the agent
    ],
)
def test_others_placements_belong_to_the_report_they_were_made_under(report: int, counted: float) -> None:
    found = reporting(until=10.0)
    found.told([Increment(node=0, report=report, bits_per_second=1.0, allocations=1.0, uses=1.0)])
    assert bits(found, now=10.0)[0] == pytest.approx(counted, abs=0.01)


def test_what_is_older_than_every_known_report_is_seen_already() -> None:
    found = InFlight(1)
    for sequence in range(10, 30):
        found.reported(0, key(sequence), 2.0 * sequence)
    found.told([Increment(node=0, report=key(3), bits_per_second=1.0, allocations=1.0, uses=1.0)])
    assert bits(found, now=60.0) == [0.0]


def test_a_change_of_the_fleet_keeps_what_is_in_flight() -> None:
    before = reporting(nodes=3)
    before.place(2, 8.0, 1.0, 1.0)
    after = InFlight(2)
    after.taken_over(before, [(2, 0)])
    assert bits(after, now=10.5) == [8.0, 0.0]
    assert [each.node for each in after.unshared(100)] == [0]


def test_expected_uses_are_those_that_a_report_could_show() -> None:
    found = reporting(until=10.0)
    found.place(0, 1.0, 5.0, 5.0)  # under the report of 10 s
    found.reported(0, key(6), 12.0)
    found.place(0, 1.0, 7.0, 7.0)
    found.reported(0, key(7), 14.0)
    since, newest = np.full(2, 10.0), np.array([14.0, 10.0])
    assert found.uses_between(since, newest - 2.0).tolist() == [5.0, 0.0]
    assert found.uses_between(since, newest).tolist() == [12.0, 0.0]


def test_uses_that_leave_the_window_unshown_are_summed_up() -> None:
    found = InFlight(1)
    for sequence in range(1, 31):
        found.reported(0, key(sequence), 2.0 * sequence, unshown_since=20.0)
        found.place(0, 0.0, 1.0, 1.0)
    # Those that came under a report before second 20 were shown; eight reports are still in the window.
    assert found.retired_uses.tolist() == [30 - 8 - 9]
    found.reported(0, key(31), 62.0)
    assert found.retired_uses.tolist() == [30 - 8 - 9]
