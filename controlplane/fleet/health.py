"""A node's health, derived from its newest record and that record's age. Every replica derives it by itself."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.fleet.heartbeat import bad_news
from controlplane.fleet.model import Health, HealthReason, NodeRecord
from controlplane.fleet.outside import Outside
from controlplane.fleet.policy import Policy

HEALTH_RANK = {Health.UP: 0, Health.SUSPECT: 1, Health.UNKNOWN: 2, Health.DOWN: 3}
"""From best to worst. A record's health never improves with its age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    health: Health
    reason: HealthReason
    detail: str = ""
    """In words, where the reason alone leaves a question."""


def derive_health(
    record: NodeRecord | None,
    *,
    age_seconds: float,
    interval_seconds: float,
    silence_held: bool = False,
    unproductive: bool = False,
    outside: Outside | None = None,
    policy: Policy,
) -> Verdict:
    """Health of a node whose newest record is `age_seconds` old.

    Explicit bad news counts at any age. Silence makes suspect, then down, unless `silence_held`: then it removes nobody. A node
    that is `unproductive` (see rebuild) is suspect, however well it reports. One that is condemned by what was seen from `outside`
    (None: nothing that counts) is down; good news from there makes nobody better.
    """
    if record is None:
        return Verdict(health=Health.UNKNOWN, reason=HealthReason.NEVER_REPORTED, detail="No heartbeat has arrived yet.")
    verdict = _by_reports(
        record,
        age_seconds=age_seconds,
        interval_seconds=interval_seconds,
        silence_held=silence_held,
        unproductive=unproductive,
        policy=policy,
    )
    reason = None if outside is None else outside.reason
    if outside is None or reason is None or verdict.health is Health.DOWN:
        return verdict
    return Verdict(health=Health.DOWN, reason=reason, detail=outside.detail)


def _by_reports(
    record: NodeRecord, *, age_seconds: float, interval_seconds: float, silence_held: bool, unproductive: bool, policy: Policy
) -> Verdict:
    bad = bad_news(record.report, policy=policy)
    if bad is not None:
        gone = not silence_held and age_seconds > policy.lease_seconds(interval_seconds)
        if bad is HealthReason.SECRETS_WITHDRAWN and gone:
            return _lease_expired(age_seconds)
        no_evidence = bad in {HealthReason.PROBE_MISSING, HealthReason.SECRETS_WITHDRAWN}
        return Verdict(
            health=Health.UNKNOWN if no_evidence and not gone else Health.DOWN, reason=bad, detail=_bad_news_in_words(record, bad)
        )
    late = age_seconds > policy.late_after_seconds(interval_seconds)
    if not silence_held and age_seconds > policy.lease_seconds(interval_seconds):
        return _lease_expired(age_seconds)
    if record.good_streak < policy.good_reports_to_return:
        return Verdict(health=Health.UNKNOWN, reason=HealthReason.RETURNING, detail="Waiting for a second good report.")
    if late and silence_held:
        return Verdict(
            health=Health.SUSPECT, reason=HealthReason.HELD, detail=f"Not seen for {age_seconds:.0f} s, by our own fault."
        )
    if late:
        return Verdict(health=Health.SUSPECT, reason=HealthReason.REPORT_LATE, detail=f"Silent for {age_seconds:.0f} s.")
    if unproductive:
        return Verdict(
            health=Health.SUSPECT,
            reason=HealthReason.UNPRODUCTIVE,
            detail="It was given many clients, and reports no new allocation: is coturn reachable from outside?",
        )
    return Verdict(health=Health.UP, reason=HealthReason.REPORTING)


def _lease_expired(age_seconds: float) -> Verdict:
    return Verdict(health=Health.DOWN, reason=HealthReason.LEASE_EXPIRED, detail=f"Silent for {age_seconds:.0f} s.")


def _bad_news_in_words(record: NodeRecord, bad: HealthReason) -> str:
    report = record.report
    if bad is HealthReason.GOODBYE:
        return "The agent said goodbye."
    if bad is HealthReason.COTURN_DEAD:
        return f"coturn is {report.coturn_state}."
    if bad is HealthReason.CLOCK_OFFSET:
        return (
            f"The node's clock is {report.clock_offset_seconds:+.1f} s off: "
            "coturn would refuse fresh credentials or take expired ones."
        )
    if bad is HealthReason.SECRETS_WITHDRAWN:
        return "Its secrets are withdrawn: coturn lets nobody in, and cannot be probed."
    if bad is HealthReason.PROBE_MISSING:
        return "The agent has not finished a probe of its own listeners yet."
    return report.probe.failure if report.probe is not None else ""
