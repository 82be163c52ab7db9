"""Health, derived from a record and its age."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.health import HEALTH_RANK, derive_health
from controlplane.fleet.heartbeat import accept, is_stale, say_goodbye
from controlplane.fleet.model import CoturnState, Health, HealthReason, NodeRecord, Probe, Report
from controlplane.fleet.outside import Outside, Sight, Standing
from controlplane.fleet.policy import Policy
from tests.builders import AT, failed_probe, make_record, make_report

POLICY = Policy()

reports = st.builds(
    make_report,
    coturn_state=st.sampled_from(CoturnState),
    clock_offset_seconds=st.floats(-20, 20),
    probe=st.sampled_from([None, make_report().probe, failed_probe()]),
    goodbye=st.booleans(),
)
records = st.builds(lambda report, streak: make_record(report=report, good_streak=streak), reports, st.integers(0, 4))


@pytest.mark.parametrize(
    ("record", "age", "health", "reason"),
    [
        (None, 0, Health.UNKNOWN, HealthReason.NEVER_REPORTED),
        (make_record(), 0, Health.UP, HealthReason.REPORTING),
        (make_record(), 5.0, Health.UP, HealthReason.REPORTING),
        (make_record(), 5.1, Health.SUSPECT, HealthReason.REPORT_LATE),
        (make_record(), 12.0, Health.SUSPECT, HealthReason.REPORT_LATE),
        (make_record(), 12.1, Health.DOWN, HealthReason.LEASE_EXPIRED),
        (make_record(good_streak=1), 0, Health.UNKNOWN, HealthReason.RETURNING),
        (make_record(good_streak=1), 13, Health.DOWN, HealthReason.LEASE_EXPIRED),
        (make_record(report=make_report(coturn_state=CoturnState.DEAD)), 0, Health.DOWN, HealthReason.COTURN_DEAD),
        (make_record(report=make_report(probe=failed_probe())), 0, Health.DOWN, HealthReason.PROBE_FAILED),
        (make_record(report=make_report(probe=None)), 0, Health.UNKNOWN, HealthReason.PROBE_MISSING),
        (make_record(report=make_report(clock_offset_seconds=5.1)), 0, Health.DOWN, HealthReason.CLOCK_OFFSET),
        (make_record(report=make_report(clock_offset_seconds=-5.1)), 0, Health.DOWN, HealthReason.CLOCK_OFFSET),
        (make_record(report=make_report(clock_offset_seconds=4.9)), 0, Health.UP, HealthReason.REPORTING),
        (make_record(report=make_report(goodbye=True)), 0, Health.DOWN, HealthReason.GOODBYE),
    ],
)
def test_the_table_of_healths(record: NodeRecord | None, age: float, health: Health, reason: HealthReason) -> None:
    verdict = derive_health(record, age_seconds=age, interval_seconds=2.0, policy=POLICY)
    assert (verdict.health, verdict.reason) == (health, reason)


@pytest.mark.parametrize("age", [6.0, 60.0, 600.0])
def test_while_the_silence_is_ours_it_makes_suspect_but_never_down(age: float) -> None:
    verdict = derive_health(make_record(), age_seconds=age, interval_seconds=2.0, silence_held=True, policy=POLICY)
    assert (verdict.health, verdict.reason) == (Health.SUSPECT, HealthReason.HELD)


def test_bad_news_counts_while_the_silence_is_ours() -> None:
    dead = make_record(report=make_report(coturn_state=CoturnState.DEAD))
    assert derive_health(dead, age_seconds=60, interval_seconds=2.0, silence_held=True, policy=POLICY).health is Health.DOWN


@given(records, st.floats(0, 100), st.floats(0, 100), st.booleans())
def test_health_never_improves_with_age(record: NodeRecord, age: float, more: float, held: bool) -> None:
    younger = derive_health(record, age_seconds=age, interval_seconds=2.0, silence_held=held, policy=POLICY)
    older = derive_health(record, age_seconds=age + more, interval_seconds=2.0, silence_held=held, policy=POLICY)
    assert HEALTH_RANK[older.health] >= HEALTH_RANK[younger.health]


@given(records, st.floats(0, 100))
def test_only_a_proven_record_is_up(record: NodeRecord, age: float) -> None:
    verdict = derive_health(record, age_seconds=age, interval_seconds=2.0, policy=POLICY)
    if verdict.health is Health.UP:
        assert record.good_streak >= 2
        assert record.report.probe is not None
        assert record.report.probe.ok
        assert age <= 5.0


def take(previous: NodeRecord | None, report: Report, silence: float = 2.0) -> NodeRecord:
    return accept(previous, report, received_at=AT, silence_seconds=silence, interval_seconds=2.0, policy=POLICY)


def up(record: NodeRecord) -> bool:
    return derive_health(record, age_seconds=0, interval_seconds=2.0, policy=POLICY).health is Health.UP


def test_a_new_node_is_up_after_two_good_reports() -> None:
    first = take(None, make_report(sequence=1))
    second = take(first, make_report(sequence=2))
    assert (up(first), up(second)) == (False, True)
    assert (first.proved_at, second.proved_at) == (None, AT)


@pytest.mark.parametrize(
    ("change", "silence"),
    [
        ({"coturn_boot_id": "another"}, 2.0),  # a death that nobody saw
        ({}, 12.5),  # a lost lease
    ],
)
def test_after_an_unseen_death_or_a_lost_lease_two_reports_are_needed_again(change: dict[str, str], silence: float) -> None:
    returned = take(make_record(), make_report(sequence=8, **change), silence)
    assert not up(returned)
    assert up(take(returned, make_report(sequence=9, **change)))


def test_bad_news_begins_the_count_anew() -> None:
    bad = take(make_record(), make_report(sequence=8, probe=failed_probe()))
    first = take(bad, make_report(sequence=9))
    second = take(first, make_report(sequence=10))
    assert (up(bad), up(first), up(second)) == (False, False, True)


def test_a_restarted_agent_that_adopted_its_coturn_loses_nothing() -> None:
    assert up(take(make_record(), make_report(boot_id="agent-boot-2", sequence=1)))
    assert up(take(make_record(), make_report(boot_id="agent-boot-2", sequence=1, probe=None)))
    assert not up(take(make_record(), make_report(boot_id="agent-boot-2", sequence=1, probe=None), silence=13.0))


def test_a_duplicate_or_overtaken_report_is_stale() -> None:
    known = make_record(report=make_report(sequence=7))
    assert is_stale(known, make_report(sequence=7))
    assert is_stale(known, make_report(sequence=6))
    assert not is_stale(known, make_report(sequence=8))
    assert not is_stale(known, make_report(boot_id="agent-boot-2", sequence=1))
    assert not is_stale(None, make_report())


def test_one_late_report_does_not_make_a_clock_slow_and_two_do() -> None:
    """A delay makes a clock look slow; nothing makes it look fast."""
    steady = take(make_record(), make_report(sequence=8))
    late = take(steady, make_report(sequence=9, clock_offset_seconds=-7.0))
    slow = take(late, make_report(sequence=10, clock_offset_seconds=-7.0))
    fast = take(steady, make_report(sequence=9, clock_offset_seconds=7.0))
    assert (up(late), up(slow), up(fast)) == (True, False, False)


def test_a_carried_probe_grows_old() -> None:
    record = make_record(report=make_report(probe=Probe(ok=True, age_seconds=1.0)))
    for sequence in range(8, 30):
        record = take(record, make_report(sequence=sequence, probe=None))
        if not up(record):
            break
    assert sequence == 8 + 14  # 1 s and fifteen times 2 s is over 30 s


def test_goodbye_is_down_until_two_good_reports() -> None:
    gone = say_goodbye(make_record(), sequence=8, received_at=AT)
    assert derive_health(gone, age_seconds=0, interval_seconds=2.0, policy=POLICY).reason is HealthReason.GOODBYE
    back = take(gone, replace(make_report(), boot_id="agent-boot-2", sequence=1))
    assert not up(back)
    assert up(take(back, replace(make_report(), boot_id="agent-boot-2", sequence=2)))


FAILED = Outside(probed_at=AT, sight=Sight.FAILS, standing=Standing.FAILED)
FINE = Outside(probed_at=AT, sight=Sight.RELAYS)


@pytest.mark.parametrize(
    ("record", "age", "outside", "health", "reason"),
    [
        (make_record(), 0, FINE, Health.UP, HealthReason.REPORTING),
        (make_record(), 0, FAILED, Health.DOWN, HealthReason.OUTSIDE_PROBE_FAILED),
        (make_record(), 6, FAILED, Health.DOWN, HealthReason.OUTSIDE_PROBE_FAILED),
        (make_record(good_streak=1), 0, FAILED, Health.DOWN, HealthReason.OUTSIDE_PROBE_FAILED),
        (make_record(), 0, replace(FAILED, standing=Standing.QUARANTINED, held_until=AT), Health.DOWN, HealthReason.QUARANTINED),
        # What the node says of itself comes first, and good news from outside makes up for nothing.
        (make_record(), 13, FAILED, Health.DOWN, HealthReason.LEASE_EXPIRED),
        (make_record(), 13, FINE, Health.DOWN, HealthReason.LEASE_EXPIRED),
        (make_record(report=make_report(goodbye=True)), 0, FAILED, Health.DOWN, HealthReason.GOODBYE),
        (make_record(report=make_report(probe=failed_probe())), 0, FINE, Health.DOWN, HealthReason.PROBE_FAILED),
        (None, 0, FAILED, Health.UNKNOWN, HealthReason.NEVER_REPORTED),
    ],
)
def test_bad_news_from_outside_counts_like_the_agents_own(
    record: NodeRecord | None, age: float, outside: Outside, health: Health, reason: HealthReason
) -> None:
    verdict = derive_health(record, age_seconds=age, interval_seconds=2.0, outside=outside, policy=POLICY)
    assert (verdict.health, verdict.reason) == (health, reason)


def test_bad_news_from_outside_counts_while_the_silence_is_ours() -> None:
    verdict = derive_health(make_record(), age_seconds=60, interval_seconds=2.0, silence_held=True, outside=FAILED, policy=POLICY)
    assert verdict.health is Health.DOWN


@given(records, st.floats(0, 60), st.booleans(), st.sampled_from([None, FINE, FAILED]))
def test_nothing_from_outside_makes_a_node_better(record: NodeRecord, age: float, held: bool, outside: Outside | None) -> None:
    without = derive_health(record, age_seconds=age, interval_seconds=2.0, silence_held=held, policy=POLICY)
    verdict = derive_health(record, age_seconds=age, interval_seconds=2.0, silence_held=held, outside=outside, policy=POLICY)
    assert HEALTH_RANK[verdict.health] >= HEALTH_RANK[without.health]
