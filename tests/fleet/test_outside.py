"""What rounds from outside amount to, in virtual time: hysteresis, quarantine, and whose fault failures are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.model import HealthReason, Transport
from controlplane.fleet.outside import Blame, ListenerSeen, Outside, Sight, Spotted, Standing, advance, blame_of, sight_of
from controlplane.fleet.policy import Policy
from tests.builders import AT

POLICY = Policy()
GOOD, BAD, REFUSES, NOT_SENT = Sight.RELAYS, Sight.FAILS, Sight.REFUSES, Sight.NOT_SENT


def seen(sight: Sight, transport: Transport = Transport.UDP, number: int = 1) -> ListenerSeen:
    words = "" if sight is GOOD else "no answer within 3 s"
    return ListenerSeen(url=f"turn:relay.example:{number}?transport={transport}", transport=transport, sight=sight, words=words)


@pytest.mark.parametrize(
    ("udp", "tcp", "expected"),
    [
        ([], [], NOT_SENT),
        ([GOOD], [], GOOD),
        ([GOOD], [BAD], GOOD),
        ([BAD], [GOOD], BAD),
        ([BAD, GOOD], [BAD], GOOD),
        ([BAD], [BAD], BAD),
        ([], [BAD], BAD),
        ([], [BAD, GOOD], GOOD),
        ([REFUSES], [REFUSES], REFUSES),
        ([REFUSES], [BAD], REFUSES),
        ([BAD], [REFUSES], BAD),
        ([NOT_SENT], [NOT_SENT], NOT_SENT),
        ([NOT_SENT], [GOOD], GOOD),
        ([NOT_SENT], [BAD], BAD),
        ([GOOD], [NOT_SENT], GOOD),
    ],
)
def test_the_table_of_rounds(udp: list[Sight], tcp: list[Sight], expected: Sight) -> None:
    listeners = [seen(each, number=number) for number, each in enumerate(udp)]
    listeners += [seen(each, Transport.TCP, number) for number, each in enumerate(tcp)]
    assert sight_of(listeners) is expected


class Course:
    """Rounds of one node, seven seconds after each other."""

    def __init__(self, known: Outside | None = None) -> None:
        self.at = AT
        self.known = known

    def round(self, sight: Sight, times: int = 1, *, blame: Blame = Blame.NODE, well: bool = True) -> Outside:
        for _ in range(times):
            self.at += timedelta(seconds=7)
            self.known = advance(self.known, [seen(sight)], at=self.at, reports_well=well, blame=blame, policy=POLICY)
        assert self.known is not None
        return self.known

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def test_three_bad_rounds_condemn_and_two_good_ones_acquit() -> None:
    course = Course()
    assert course.round(BAD, 2).reason is None
    condemned = course.round(BAD)
    assert condemned.reason is HealthReason.OUTSIDE_PROBE_FAILED
    assert condemned.detail == "From outside, udp: no answer within 3 s."
    assert condemned.since == course.at
    assert course.round(GOOD).reason is HealthReason.OUTSIDE_PROBE_FAILED
    assert course.round(GOOD).reason is None


def test_rounds_have_to_be_bad_in_a_row() -> None:
    course = Course()
    for _ in range(20):
        assert course.round(BAD, 2).reason is None
        course.round(GOOD)
    for _ in range(20):
        course.round(BAD, 2)
        assert course.round(REFUSES).reason is None


def test_a_return_takes_good_rounds_in_a_row() -> None:
    course = Course()
    course.round(BAD, 3)
    for _ in range(10):
        course.round(GOOD)
        assert course.round(BAD).reason is not None


def test_what_could_not_be_sent_changes_nothing() -> None:
    course = Course()
    course.round(BAD, 2)
    assert course.round(NOT_SENT, 50).failures == 2
    assert course.round(BAD).reason is not None
    assert course.round(NOT_SENT, 50).reason is not None


def test_a_refusal_that_is_expected_condemns_nobody_and_acquits_nobody() -> None:
    course = Course()
    assert course.round(REFUSES, 50).reason is None
    course.round(BAD, 3)
    assert course.round(REFUSES, 50).reason is not None


def test_who_speaks_badly_of_himself_is_not_condemned_as_well() -> None:
    course = Course()
    assert course.round(BAD, 50, well=False).reason is None
    assert course.round(BAD, 2).reason is None  # back, and counted anew
    assert course.round(BAD).reason is not None


def test_nobody_is_condemned_before_the_others_were_asked() -> None:
    course = Course()
    assert course.round(BAD, 9, blame=Blame.UNSURE).reason is None
    assert course.round(BAD).reason is not None


def test_a_fault_of_ours_acquits_and_begins_the_count_anew() -> None:
    course = Course()
    course.round(BAD, 3)
    assert course.round(BAD, blame=Blame.OURS).reason is None
    assert course.round(BAD, 30, blame=Blame.OURS).reason is None
    assert course.round(BAD, 2).reason is None
    assert course.round(BAD).reason is HealthReason.OUTSIDE_PROBE_FAILED


def flap(course: Course) -> Outside:
    down = course.round(BAD, 3)
    if down.standing is Standing.FAILED:
        course.round(GOOD, 2)
    return down


def test_the_fourth_time_in_ten_minutes_is_a_quarantine_that_doubles() -> None:
    course = Course()
    assert [flap(course).standing for _ in range(4)] == [Standing.FAILED] * 3 + [Standing.QUARANTINED]
    lengths = []
    for _ in range(8):
        quarantined = course.known
        assert quarantined is not None
        assert quarantined.reason is HealthReason.QUARANTINED
        assert quarantined.held_until is not None
        assert quarantined.detail.endswith(f"held down until {quarantined.held_until:%Y-%m-%d %H:%M:%S} UTC.")
        lengths.append((quarantined.held_until - course.at).total_seconds())
        assert course.round(GOOD, 3).standing is Standing.QUARANTINED  # however good it looks
        course.at = quarantined.held_until
        assert course.round(GOOD).standing is Standing.GOOD
        while course.round(BAD, 3).standing is Standing.FAILED:  # after a long quarantine the ten minutes are over
            course.round(GOOD, 2)
    assert lengths == [60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_a_quarantine_is_forgotten_after_an_hour() -> None:
    course = Course()
    for _ in range(4):
        flap(course)
    course.wait(3600 + 120)
    course.round(GOOD, 2)
    assert [flap(course).standing for _ in range(4)] == [Standing.FAILED] * 3 + [Standing.QUARANTINED]
    assert course.known is not None
    assert course.known.held_until == course.at + timedelta(seconds=60)


def test_three_times_within_ten_minutes_and_a_fourth_later_is_no_quarantine() -> None:
    course = Course()
    for _ in range(12):
        assert flap(course).standing is Standing.FAILED
        course.wait(180)


def test_who_fails_still_when_the_quarantine_ends_is_down_for_that() -> None:
    course = Course()
    for _ in range(4):
        flap(course)
    course.wait(120)
    assert course.round(BAD).standing is Standing.FAILED
    assert course.round(GOOD, 2).standing is Standing.GOOD


def test_a_clock_that_was_wrong_quarantines_nobody_for_years() -> None:
    course = Course()
    course.wait(86_400 * 365)
    for _ in range(4):
        flap(course)
    course.at = AT
    assert course.round(GOOD, 2).standing is Standing.GOOD


def test_each_listener_counts_its_own_failures() -> None:
    known = None
    for number in range(5):
        listeners = [seen(GOOD), seen(BAD, Transport.TLS), seen(BAD if number < 2 else NOT_SENT, Transport.TCP)]
        known = advance(known, listeners, at=AT + timedelta(minutes=number), blame=Blame.NODE, policy=POLICY)
    assert known is not None
    assert [each.failures for each in known.listeners] == [0, 5, 2]
    assert known.reason is None


@given(
    st.lists(
        st.tuples(st.sampled_from(Sight), st.sampled_from(Blame), st.booleans(), st.sampled_from([-400.0, 0.0, 5.0, 60.0, 700.0])),
        max_size=60,
    )
)
def test_whatever_comes_a_node_is_down_by_bad_rounds_alone_and_two_good_ones_end_it(
    rounds: list[tuple[Sight, Blame, bool, float]],
) -> None:
    course = Course()
    for sight, blame, well, seconds in rounds:
        course.wait(seconds)
        before = course.known
        now = course.round(sight, blame=blame, well=well)
        if now.reason is not None and (before is None or before.reason is None):
            assert (sight, blame, well) == (BAD, Blame.NODE, True)
        assert (now.held_until is not None) or now.standing is not Standing.QUARANTINED
    course.wait(2 * POLICY.quarantine_most_seconds)
    assert course.round(GOOD, 2).reason is None


NOW = 10_000.0


def node(region: str = "eu", *, failing_for: float | None = None, tried: float = 5.0) -> Spotted:
    since = None if failing_for is None else NOW - failing_for
    return Spotted(region=region, failing=failing_for is not None, failing_since=since, probed_at=NOW - tried)


@pytest.mark.parametrize(
    ("spotted", "expected"),
    [
        ([], Blame.NODE),
        ([node(failing_for=20)], Blame.NODE),
        ([node(failing_for=20)] * 3, Blame.NODE),  # one region, three nodes: they may well be gone
        ([node(failing_for=20)] * 4, Blame.OURS),
        ([node(failing_for=20), node("us", failing_for=15)], Blame.OURS),
        ([node(failing_for=20), node("us")], Blame.NODE),
        ([node(failing_for=20)] * 2 + [node()] * 2, Blame.NODE),
        ([node(failing_for=20)] * 3 + [node()] * 2, Blame.OURS),
        # The first of four that fails, before another had its turn: nobody knows yet.
        ([node(failing_for=15)] + [node(tried=40)] * 3, Blame.UNSURE),
        ([node(failing_for=15)] + [node(tried=5)] * 3, Blame.NODE),
        ([node(failing_for=600)] + [node(tried=40)] * 3, Blame.NODE),
        # A third of a large fleet is gone, and failing nodes are tried more often than others.
        ([node(failing_for=15)] * 100 + [node(failing_for=25)] * 233 + [node(tried=40)] * 467 + [node()] * 200, Blame.NODE),
        # The place broke ten seconds ago: every turn since then went wrong.
        ([node(failing_for=9)] * 160 + [node(tried=40)] * 840, Blame.OURS),
    ],
)
def test_whose_fault_it_is(spotted: list[Spotted], expected: Blame) -> None:
    assert blame_of(spotted, now=NOW, was_ours=False, policy=POLICY) is expected


def test_a_fault_of_ours_ends_when_seven_tenths_relay() -> None:
    assert blame_of([node(failing_for=60)] * 4 + [node()] * 6, now=NOW, was_ours=False, policy=POLICY) is Blame.NODE
    assert blame_of([node(failing_for=60)] * 4 + [node()] * 6, now=NOW, was_ours=True, policy=POLICY) is Blame.OURS
    assert blame_of([node(failing_for=60)] * 3 + [node()] * 7, now=NOW, was_ours=True, policy=POLICY) is Blame.NODE


def test_what_cannot_be_sent_at_all_is_the_place() -> None:
    nowhere = Spotted(region="eu", failing=True, failing_since=None, probed_at=NOW - 5)
    assert blame_of([nowhere] * 6, now=NOW, was_ours=False, policy=POLICY) is Blame.OURS
