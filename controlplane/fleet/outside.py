"""What a node looks like from outside, by packets that the control plane relays through its listeners, and what follows from it.

One round tries every listener once. Several bad ones in a row condemn the node, two good ones acquit it; who goes to and fro
is quarantined. Instants are the leader's wall clock: they are told to people, and compared with a tolerance of minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from controlplane.fleet.model import HealthReason, Transport
from controlplane.fleet.policy import Policy

_MOST_COUNTED = 1_000_000


class Sight(StrEnum):
    """What came of one listener, or of a whole round: the closed list."""

    RELAYS = "relays"
    FAILS = "fails"
    REFUSES = "refuses"
    """coturn refuses, as it should now: its secrets are withdrawn, or it is draining. Neither good nor bad news."""
    NOT_SENT = "not_sent"
    """This machine could not even send: no news about the node."""


class Standing(StrEnum):
    """What the rounds so far amount to: the closed list."""

    GOOD = "good"
    FAILED = "failed"
    """Condemned."""
    QUARANTINED = "quarantined"
    """Condemned for the fourth time in ten minutes: down until a time, however good it looks."""


class Blame(StrEnum):
    """Whose fault failures are, seen over the whole fleet: the closed list."""

    NODE = "node"
    UNSURE = "unsure"
    """Too few of the others were tried since: nobody is condemned yet."""
    OURS = "ours"
    """Most of the nodes that report well fail: it is the place that they are tried from. Nobody is condemned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSeen:
    """One listener at its last try."""

    url: str
    transport: Transport
    sight: Sight
    failure: str = ""
    """The kind of failure; empty when it relays."""
    words: str = ""
    milliseconds: float | None = None
    failures: int = 0
    """In a row."""
    certificate_expires_at: datetime | None = None
    """Of a TLS listener whose certificate is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersSeen:
    """What a relay said when it was asked for addresses that no client may reach."""

    tried_at: datetime
    coturn_boot_id: str | None
    """Of the coturn that was asked: another one may be configured otherwise."""
    permitted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything that is known of a node from outside."""

    probed_at: datetime
    sight: Sight
    listeners: tuple[ListenerSeen, ...] = ()
    failures: int = 0
    """Bad rounds in a row that counted; so for the good ones."""
    successes: int = 0
    failing_since: datetime | None = None
    """The first of the bad rounds in a row, also of those that did not count."""
    standing: Standing = Standing.GOOD
    since: datetime | None = None
    """Of the standing, when it changed."""
    downs: tuple[datetime, ...] = ()
    """When it was condemned, as far as that matters still."""
    quarantines: int = 0
    """In a row: each lasts twice as long as the one before."""
    held_until: datetime | None = None
    peers: PeersSeen | None = None

    @property
    def reason(self) -> HealthReason | None:
        """Why the node is down by this; None: it is not."""
        if self.standing is Standing.GOOD:
            return None
        return HealthReason.QUARANTINED if self.standing is Standing.QUARANTINED else HealthReason.OUTSIDE_PROBE_FAILED

    @property
    def detail(self) -> str:
        """The reason in words."""
        if self.standing is Standing.QUARANTINED and self.held_until is not None:
            return (
                f"From outside it failed {len(self.downs)} times within minutes: held down until "
                f"{self.held_until:%Y-%m-%d %H:%M:%S} UTC."
            )
        failing = next((each for each in self.listeners if each.sight is Sight.FAILS), None)
        if failing is None:
            return "It failed from outside, and has to relay twice in a row to be back."
        return f"From outside, {failing.transport}: {failing.words}."


def sight_of(listeners: Sequence[ListenerSeen]) -> Sight:
    """Of a round. Bad when every UDP listener fails, since clients come by UDP first, or every one of a node without UDP.

    A failing TCP or TLS listener of a node whose UDP works is shown and told, and condemns nobody: its clients have a way in.
    """
    tried = [each for each in listeners if each.sight is not Sight.NOT_SENT]
    judged = [each for each in tried if each.transport is Transport.UDP] or tried
    if not judged:
        return Sight.NOT_SENT
    for sight in (Sight.RELAYS, Sight.REFUSES):
        if any(each.sight is sight for each in judged):
            return sight
    return Sight.FAILS


def advance(
    known: Outside | None,
    listeners: Sequence[ListenerSeen],
    *,
    at: datetime,
    reports_well: bool = True,
    blame: Blame,
    policy: Policy,
) -> Outside:
    """What is known after another round, whose listeners need not count their failures yet.

    A node whose own reports are no good, or silent, is not condemned: what they say counts already, and once they are
    good again they are what it returns by.
    """
    sight = sight_of(listeners)
    before = known if known is not None else Outside(probed_at=at, sight=sight)
    was = {each.url: each.failures for each in before.listeners}
    seen = replace(
        before,
        probed_at=at,
        sight=sight,
        listeners=tuple(replace(each, failures=_counted(was.get(each.url, 0), each.sight)) for each in listeners),
    )
    if blame is Blame.OURS and sight is not Sight.RELAYS:
        since = before.failing_since or (at if sight is Sight.FAILS else None)
        return replace(_acquitted(seen, at=at), failures=0, successes=0, failing_since=since)
    match sight:
        case Sight.FAILS if not reports_well:
            return replace(seen, failures=0, successes=0, failing_since=before.failing_since or at)
        case Sight.FAILS:
            return _after_bad(seen, at=at, blame=blame, policy=policy)
        case Sight.RELAYS:
            return _after_good(seen, at=at, policy=policy)
        case Sight.REFUSES:
            return replace(seen, failures=0, failing_since=None)
        case Sight.NOT_SENT:
            return seen


def _after_bad(seen: Outside, *, at: datetime, blame: Blame, policy: Policy) -> Outside:
    failures = min(seen.failures + 1, _MOST_COUNTED)
    seen = replace(seen, failures=failures, successes=0, failing_since=seen.failing_since or at)
    if seen.standing is Standing.QUARANTINED and _is_over(seen, at=at, policy=policy):
        return replace(seen, standing=Standing.FAILED, since=at, held_until=None)
    if seen.standing is not Standing.GOOD or blame is not Blame.NODE or failures < policy.outside_failures_to_condemn:
        return seen
    recent = timedelta(seconds=policy.flapping_seconds)
    downs = (*(each for each in seen.downs if abs(at - each) <= recent), at)
    if len(downs) <= policy.flapping_downs:
        return replace(seen, standing=Standing.FAILED, since=at, downs=downs)
    last = seen.held_until
    lately = last is not None and at - last <= timedelta(seconds=policy.quarantine_forgotten_seconds)
    quarantines = seen.quarantines if lately else 0
    seconds = min(policy.quarantine_most_seconds, policy.quarantine_seconds * 2.0**quarantines)
    return replace(
        seen,
        standing=Standing.QUARANTINED,
        since=at,
        downs=downs,
        quarantines=min(quarantines + 1, 30),
        held_until=at + timedelta(seconds=seconds),
    )


def _after_good(seen: Outside, *, at: datetime, policy: Policy) -> Outside:
    seen = replace(seen, failures=0, successes=min(seen.successes + 1, _MOST_COUNTED), failing_since=None)
    held = seen.standing is Standing.QUARANTINED and not _is_over(seen, at=at, policy=policy)
    if held or seen.successes < policy.outside_successes_to_return:
        return seen
    return _acquitted(seen, at=at)


def _acquitted(seen: Outside, *, at: datetime) -> Outside:
    return seen if seen.standing is Standing.GOOD else replace(seen, standing=Standing.GOOD, since=at)


def _is_over(seen: Outside, *, at: datetime, policy: Policy) -> bool:
    """Whether its quarantine is. One that ends later than the longest can was written by a clock that was wrong."""
    until = seen.held_until
    return until is None or at >= until or until - at > timedelta(seconds=policy.quarantine_most_seconds)


def _counted(before: int, sight: Sight) -> int:
    return min(before + 1, _MOST_COUNTED) if sight is Sight.FAILS else before if sight is Sight.NOT_SENT else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProberPlace:
    """How the place fares that nodes are tried from, over those that report well."""

    ours: bool
    """Its own fault: nobody is condemned."""
    since: datetime | None
    """Of that fault."""
    failing: int
    tried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spotted:
    """One node that reports well, as it was last seen from outside: what blame is found by."""

    region: str
    failing: bool
    """It did not relay."""
    failing_since: float | None
    """Seconds of whatever clock; None: not failing, or this machine could not send."""
    probed_at: float


def blame_of(spotted: Sequence[Spotted], *, now: float, was_ours: bool, policy: Policy) -> Blame:
    """Over half of the nodes that report well fail: it is the place they are tried from, in a fleet that is large enough to tell.

    Failing nodes are tried more often than others. So those that had their turn lately, and relayed before it, stand for the
    ones whose turn is still to come; counted as they come in, a loss of a third of the fleet would soon look like most of it.
    """
    total = len(spotted)
    if total < policy.place_from_nodes and len({each.region for each in spotted}) < policy.place_from_regions:
        return Blame.NODE
    lately = now - policy.place_lately_seconds
    failing = newly_failing = newly_good = waiting = 0
    for each in spotted:
        if each.failing:
            failing += 1
            newly_failing += each.failing_since is not None and each.failing_since >= lately
        elif each.probed_at >= lately:
            newly_good += 1
        else:
            waiting += 1
    turns = newly_failing + newly_good
    share = (failing + (waiting * newly_failing / turns if turns else 0.0)) / total
    if share <= (policy.place_good_share if was_ours else policy.place_fault_share):
        return Blame.NODE
    return Blame.OURS if was_ours or total - waiting >= min(total, policy.place_sample_nodes) else Blame.UNSURE
