"""Evidence for people: what speaks for and against a node's listeners, and what of it somebody should look at."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.fleet.heartbeat import bad_news
from controlplane.fleet.ice_urls import turn_url
from controlplane.fleet.model import CoturnState, Health, HealthReason, Listener, NodeRecord
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.outside import ListenerSeen, Outside, ProberPlace, Sight, Standing
from controlplane.fleet.policy import Policy
from controlplane.fleet.words import some_of
from controlplane.wire.evidence_api import ListenerEvidence, OutsideView, OutsideWitness, Witness
from controlplane.wire.fleet_api import OpenProblem


def to_evidence(state: NodeState, *, policy: Policy, interval_seconds: float) -> list[ListenerEvidence]:
    """One entry for each listener that the node reported."""
    record = state.record
    if record is None:
        return []
    age = state.age_seconds or 0.0
    heartbeat = _heartbeat(record, age, late=age > policy.late_after_seconds(interval_seconds))
    seen = {} if state.outside is None else {each.url: each for each in state.outside.listeners}
    return [
        ListenerEvidence(
            url=turn_url(listener),
            transport=listener.transport.value,
            heartbeat=heartbeat,
            agent=_agent(record, listener, age, policy=policy),
            outside=_outside(seen.get(turn_url(listener)), state.outside_age_seconds),
        )
        for listener in record.report.listeners
    ]


def _heartbeat(record: NodeRecord, age: float, *, late: bool) -> Witness:
    report = record.report
    if report.goodbye:
        words = "The agent said goodbye."
    elif late:
        words = f"Silent for {age:.0f} s."
    else:
        words = "" if report.coturn_state is CoturnState.RUNNING else f"coturn is {report.coturn_state}."
    return Witness(ok=not words, words=words, age_seconds=round(age, 2))


def _agent(record: NodeRecord, listener: Listener, age: float, *, policy: Policy) -> Witness:
    probe = record.report.probe
    if probe is None or bad_news(record.report, policy=policy) is HealthReason.SECRETS_WITHDRAWN:
        words = "It has not finished a probe yet." if probe is None else "Its secrets are withdrawn: nothing can be probed."
        return Witness(ok=None, words=words, age_seconds=None)
    tried = next((each for each in probe.listeners if each.transport is listener.transport), None)
    ok = probe.ok if tried is None else tried.ok
    words = "" if ok or tried is None else tried.failure or "It failed."
    return Witness(ok=ok, words=words, age_seconds=round(age + probe.age_seconds, 2))


def _outside(seen: ListenerSeen | None, age_seconds: float | None) -> OutsideWitness:
    if seen is None:
        return OutsideWitness(
            ok=None,
            words="It was not tried from outside, or not in the last five minutes.",
            age_seconds=None,
            expected=False,
            failure=None,
            milliseconds=None,
            failures=0,
            certificate_expires_at=None,
        )
    return OutsideWitness(
        ok={Sight.RELAYS: True, Sight.FAILS: False}.get(seen.sight),
        words=seen.words,
        age_seconds=None if age_seconds is None else round(age_seconds, 2),
        expected=seen.sight is Sight.REFUSES,
        failure=seen.failure or None,
        milliseconds=seen.milliseconds,
        failures=seen.failures,
        certificate_expires_at=seen.certificate_expires_at,
    )


def to_outside_view(outside: Outside | None) -> OutsideView | None:
    if outside is None:
        return None
    peers = outside.peers
    return OutsideView(
        standing=outside.standing.value,
        since=outside.since,
        failures=outside.failures,
        quarantined_until=outside.held_until if outside.standing is Standing.QUARANTINED else None,
        permitted_peers=None if peers is None else list(peers.permitted),
        peers_asked_at=None if peers is None else peers.tried_at,
    )


def outside_problems(states: Sequence[NodeState], place: ProberPlace | None, *, policy: Policy) -> list[OpenProblem]:
    """What was seen from outside and is not told by the nodes' health."""
    found = []
    if place is not None and place.ours:
        found.append(
            OpenProblem(
                severity="warning",
                what=f"{place.failing} of {place.tried} nodes that report well fail from outside: the fault is taken for the "
                "network of the control plane's own jobs, which condemns nobody meanwhile.",
            )
        )
    else:
        found += _not_tried(states)
    for state in states:
        if state.outside is not None:
            found += _of_node(state, state.outside, ours=place is not None and place.ours, policy=policy)
    return found


def _not_tried(states: Sequence[NodeState]) -> list[OpenProblem]:
    """Nodes of which nothing could be learnt, in one sentence: they look as they did, whatever has become of them."""
    unseen = sorted(
        ((state.node.name, state.outside) for state in states if state.outside and state.outside.sight is Sight.NOT_SENT),
        key=lambda each: each[0],
    )
    if not unseen:
        return []
    names = [name for name, _ in unseen]
    words = next((each.words for each in unseen[0][1].listeners if each.sight is Sight.NOT_SENT), "")
    return [OpenProblem(severity="warning", what=f"From outside, {some_of(names)} could not even be tried: {words.rstrip('.')}.")]


def _of_node(state: NodeState, outside: Outside, *, ours: bool, policy: Policy) -> list[OpenProblem]:
    def problem(severity: str, what: str) -> OpenProblem:
        return OpenProblem(severity=severity, what=what, region=state.node.region, node_id=state.node.node_id)

    name, found = state.node.name, []
    if outside.peers is not None and outside.peers.permitted:
        reached = ", ".join(outside.peers.permitted)
        found.append(problem("critical", f"{name} lets its clients reach what they must not: {reached}."))
    if ours or state.verdict.health is Health.DOWN:
        return found
    failing = [each for each in outside.listeners if each.failures >= policy.outside_failures_to_condemn]
    return found + [problem("warning", f"{name} fails from outside by {each.transport}: {each.words}.") for each in failing]
