"""What an operator may ask of a node, and how far a drain has come. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.fleet.model import CoturnState, Drain, Intent, NodeRecord

SETTLE = timedelta(seconds=20)
"""After a drain began: every replica has stopped selecting the node (1.25 s) and shipped the records of what it issued before, and
the journal of one that died was adopted by another (15 s)."""


class Change(StrEnum):
    """The four calls."""

    CORDON = "cordon"
    UNCORDON = "uncordon"
    DRAIN = "drain"
    UNDRAIN = "undrain"


class DrainPhase(StrEnum):
    """How far a drain has come: the closed list."""

    WAITING = "waiting"
    """Credentials that were signed for the node are still valid: coturn goes on taking them."""
    EMPTYING = "emptying"
    """The secrets are withdrawn: nobody new gets in, and the live allocations run out."""
    ENDING = "ending"
    """The deadline has passed: the node ends what is left."""
    DRAINED = "drained"
    """No allocation is left."""


def intent_after(change: Change, intent: Intent) -> Intent | str:
    """What the node is after that call, or a sentence that says why it cannot be. A call that was made already is no error."""
    if change is Change.DRAIN:
        return Intent.DRAINING
    if change in {Change.CORDON, Change.UNCORDON} and intent is Intent.DRAINING:
        return "The node is draining: end that with undrain first."
    if change is Change.UNDRAIN and intent is Intent.CORDONED:
        return "The node is cordoned and not draining: uncordon it."
    return Intent.CORDONED if change is Change.CORDON else Intent.ACTIVE


def phase(drain: Drain, *, now: datetime) -> DrainPhase:
    if drain.drained_at is not None:
        return DrainPhase.DRAINED
    if drain.withdrawn_at is None:
        return DrainPhase.WAITING
    return DrainPhase.ENDING if must_end(drain, now=now) else DrainPhase.EMPTYING


def may_withdraw(drain: Drain, *, latest_expiry_at: datetime | None, now: datetime) -> bool:
    """Whether nobody loses by it: the last credential that was signed for the node has expired, or its time is up.

    `latest_expiry_at` is of all credentials signed for the node; None: there is none.
    """
    if now >= drain.deadline_at:
        return True
    return now >= drain.since_at + SETTLE and (latest_expiry_at is None or now >= latest_expiry_at)


def must_restore(drain: Drain, *, latest_expiry_at: datetime | None, now: datetime) -> bool:
    """Whether the secrets were withdrawn too early: a record arrived late, of a credential that is still valid."""
    return drain.withdrawn_at is not None and latest_expiry_at is not None and now < min(drain.deadline_at, latest_expiry_at)


def must_end(drain: Drain, *, now: datetime) -> bool:
    """Whether the node ends the allocations that are left."""
    return drain.force and drain.withdrawn_at is not None and now >= drain.deadline_at


def is_drained(drain: Drain, record: NodeRecord) -> bool:
    """By a report of a node that has let go of its secrets, so that no new allocation can follow, and has looked at its coturn: an
    agent that has only just started knows of none yet, however many there are.
    """
    report = record.report
    return (
        drain.withdrawn_at is not None
        and record.received_at >= drain.withdrawn_at
        and report.coturn_state in {CoturnState.RUNNING, CoturnState.DEAD}
        and not report.secret_versions
        and report.load.allocations == 0
    )
