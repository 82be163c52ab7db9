"""Taking a report in: is it new, is it good, and for how long has the node been good without a break."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controlplane.fleet.model import CoturnState, HealthReason, NodeRecord, Report
from controlplane.fleet.policy import Policy


def bad_news(report: Report, *, policy: Policy) -> HealthReason | None:
    """The explicit bad news in a report, the most decisive first. None: the report is good."""
    if report.goodbye:
        return HealthReason.GOODBYE
    if report.coturn_state is not CoturnState.RUNNING:
        return HealthReason.COTURN_DEAD
    if abs(report.clock_offset_seconds) > policy.clock_offset_limit_seconds:
        return HealthReason.CLOCK_OFFSET
    if not report.secret_versions and not report.secrets_drifted:
        return HealthReason.SECRETS_WITHDRAWN
    if report.probe is None or report.probe.age_seconds > policy.probe_age_limit_seconds:
        return HealthReason.PROBE_MISSING
    if not report.probe.ok:
        return HealthReason.PROBE_FAILED
    return None


def is_stale(previous: NodeRecord | None, report: Report) -> bool:
    """A duplicate or overtaken heartbeat of the same run of the agent. It renews nothing and is no error."""
    return previous is not None and previous.report.boot_id == report.boot_id and report.sequence <= previous.report.sequence


def accept(
    previous: NodeRecord | None,
    report: Report,
    *,
    received_at: datetime,
    silence_seconds: float,
    interval_seconds: float,
    policy: Policy,
) -> NodeRecord:
    """The record after `report`, which must not be stale.

    `silence_seconds` is the time since the previous report was received. A new coturn (another boot id), a silence longer
    than the lease or any bad news begins the count of good reports anew, so that every replica that sees the record derives
    the same return.
    """
    unbroken = (
        previous is not None
        and previous.good_streak > 0
        and previous.report.coturn_boot_id == report.coturn_boot_id
        and silence_seconds <= policy.lease_seconds(interval_seconds)
    )
    if previous is not None and unbroken and report.probe is None and previous.report.probe is not None:
        # A restarted agent that adopted the same coturn has not probed it yet: the last probe stands, and grows old.
        last = previous.report.probe
        report = replace(report, probe=replace(last, age_seconds=last.age_seconds + silence_seconds))
    report = _with_clock_offset(previous, report)
    if bad_news(report, policy=policy) is not None:
        return NodeRecord(report=report, received_at=received_at, good_streak=0, proved_at=None)
    if previous is None or not unbroken:
        return NodeRecord(report=report, received_at=received_at, good_streak=1, proved_at=None)
    streak = previous.good_streak + 1
    proved_at = previous.proved_at or (received_at if streak >= policy.good_reports_to_return else None)
    return NodeRecord(report=report, received_at=received_at, good_streak=streak, proved_at=proved_at)


def _with_clock_offset(previous: NodeRecord | None, report: Report) -> Report:
    """The larger of two measurements in a row.

    A report that came late, or that this process took in late, makes a node's clock look slow; nothing makes it look fast. So
    one late report judges nobody, and a clock that really is slow is seen at its second report.
    """
    measured = report.clock_offset_seconds
    before = None if previous is None else previous.report.clock_offset_measured_seconds
    offset = measured if before is None else max(measured, before)
    return replace(report, clock_offset_seconds=offset, clock_offset_measured_seconds=measured)


def say_goodbye(record: NodeRecord, *, sequence: int, received_at: datetime) -> NodeRecord:
    """The record after the node's own goodbye."""
    report = replace(record.report, goodbye=True, sequence=sequence)
    return NodeRecord(report=report, received_at=received_at, good_streak=0, proved_at=None)
