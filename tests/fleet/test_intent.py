"""What may be asked of a node, and when a drain goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.eligibility import derive_ineligibility, signing_version
from controlplane.fleet.health import derive_health
from controlplane.fleet.intent import (
    SETTLE,
    Change,
    DrainPhase,
    intent_after,
    is_drained,
    may_withdraw,
    must_end,
    must_restore,
    phase,
)
from controlplane.fleet.model import CoturnState, Drain, Health, HealthReason, Ineligibility, Intent
from controlplane.fleet.policy import Policy
from tests.builders import AT, make_load, make_node, make_record, make_report

HOUR = timedelta(hours=1)
BEGUN = Drain(since_at=AT, deadline_at=AT + HOUR, force=True)
WITHDRAWN = replace(BEGUN, withdrawn_at=AT + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (Change.CORDON, Intent.ACTIVE, Intent.CORDONED),
        (Change.CORDON, Intent.CORDONED, Intent.CORDONED),
        (Change.CORDON, Intent.DRAINING, "undrain"),
        (Change.UNCORDON, Intent.CORDONED, Intent.ACTIVE),
        (Change.UNCORDON, Intent.ACTIVE, Intent.ACTIVE),
        (Change.UNCORDON, Intent.DRAINING, "undrain"),
        (Change.DRAIN, Intent.ACTIVE, Intent.DRAINING),
        (Change.DRAIN, Intent.CORDONED, Intent.DRAINING),
        (Change.DRAIN, Intent.DRAINING, Intent.DRAINING),
        (Change.UNDRAIN, Intent.DRAINING, Intent.ACTIVE),
        (Change.UNDRAIN, Intent.ACTIVE, Intent.ACTIVE),
        (Change.UNDRAIN, Intent.CORDONED, "uncordon"),
    ],
)
def test_the_table_of_intents(change: Change, before: Intent, after: Intent | str) -> None:
    found = intent_after(change, before)
    if isinstance(after, Intent):
        assert found is after
    else:
        assert after in found


@pytest.mark.parametrize(
    ("seconds", "latest", "expected"),
    [
        (1, None, False),  # another replica may be signing yet
        (19, None, False),
        (20, None, True),
        (20, 4, True),
        (20, 30, False),
        (30, 30, True),
        (3599, 7200, False),
        (3600, 7200, True),  # the deadline
    ],
)
def test_secrets_are_withdrawn_when_nobody_needs_them_or_at_the_deadline(
    seconds: float, latest: float | None, expected: bool
) -> None:
    latest_at = None if latest is None else AT + timedelta(seconds=latest)
    assert may_withdraw(BEGUN, latest_expiry_at=latest_at, now=AT + timedelta(seconds=seconds)) is expected


@given(st.integers(0, 7200), st.none() | st.integers(0, 7200), st.integers(0, 7200))
def test_a_drain_never_goes_back(since: int, latest: int | None, later: int) -> None:
    latest_at = None if latest is None else AT + timedelta(seconds=latest)
    early, late = (AT + timedelta(seconds=each) for each in (since, since + later))
    if may_withdraw(BEGUN, latest_expiry_at=latest_at, now=early):
        assert may_withdraw(BEGUN, latest_expiry_at=latest_at, now=late)


def at(minutes: float) -> datetime:
    return AT + timedelta(minutes=minutes)


def test_the_phases_in_their_order() -> None:
    assert phase(BEGUN, now=at(30)) is DrainPhase.WAITING
    assert phase(WITHDRAWN, now=at(30)) is DrainPhase.EMPTYING
    assert phase(WITHDRAWN, now=at(60)) is DrainPhase.ENDING
    assert phase(replace(WITHDRAWN, force=False), now=at(600)) is DrainPhase.EMPTYING
    assert phase(replace(WITHDRAWN, drained_at=at(40)), now=at(60)) is DrainPhase.DRAINED


def test_nothing_is_ended_before_the_secrets_are_withdrawn() -> None:
    assert not must_end(BEGUN, now=at(61))
    assert must_end(WITHDRAWN, now=at(61))
    assert timedelta(seconds=1.25) < SETTLE


def test_a_node_is_drained_by_its_own_report() -> None:
    empty = make_report(secret_versions=(), load=make_load(allocations=0))
    heard = at(2)
    assert is_drained(WITHDRAWN, make_record(report=empty, received_at=heard))
    assert is_drained(WITHDRAWN, make_record(report=replace(empty, coturn_state=CoturnState.DEAD), received_at=heard))
    assert not is_drained(BEGUN, make_record(report=empty, received_at=heard))
    # Of an earlier drain.
    assert not is_drained(WITHDRAWN, make_record(report=empty, received_at=at(0.5)))
    for report in (
        replace(empty, load=make_load(allocations=1)),
        replace(empty, secret_versions=(1,)),
        # An agent that has only just started has not looked at the coturn that it will adopt.
        replace(empty, coturn_state=CoturnState.STOPPED),
        replace(empty, coturn_state=CoturnState.STARTING),
    ):
        assert not is_drained(WITHDRAWN, make_record(report=report, received_at=heard))


def test_secrets_come_back_when_a_late_record_says_that_they_are_needed() -> None:
    assert must_restore(WITHDRAWN, latest_expiry_at=at(30), now=at(2))
    assert not must_restore(WITHDRAWN, latest_expiry_at=at(30), now=at(31))
    assert not must_restore(WITHDRAWN, latest_expiry_at=None, now=at(2))
    assert not must_restore(WITHDRAWN, latest_expiry_at=at(90), now=at(61))  # after the deadline
    assert not must_restore(BEGUN, latest_expiry_at=at(30), now=at(2))


@given(st.integers(0, 7200), st.none() | st.integers(0, 7200))
def test_what_is_withdrawn_is_not_restored_at_once(since: int, latest: int | None) -> None:
    latest_at, now = None if latest is None else AT + timedelta(seconds=latest), AT + timedelta(seconds=since)
    if may_withdraw(BEGUN, latest_expiry_at=latest_at, now=now):
        assert not must_restore(replace(BEGUN, withdrawn_at=now), latest_expiry_at=latest_at, now=now)


def test_a_node_without_its_secrets_is_not_called_broken() -> None:
    node = make_node("node-1", intent=Intent.DRAINING, drain=WITHDRAWN)
    record = make_record(report=make_report(secret_versions=(), probe=None), good_streak=0, proved_at=None)
    verdict = derive_health(record, age_seconds=1.0, interval_seconds=2.0, policy=Policy())
    assert (verdict.health, verdict.reason) == (Health.UNKNOWN, HealthReason.SECRETS_WITHDRAWN)
    gone = derive_health(record, age_seconds=13.0, interval_seconds=2.0, policy=Policy())
    assert (gone.health, gone.reason) == (Health.DOWN, HealthReason.LEASE_EXPIRED)
    assert node.wanted_versions == ()
    assert signing_version(node, make_record()) is None
    assert Ineligibility.DRAINING in derive_ineligibility(node, record, verdict, utilisation=0.0, policy=Policy())
