"""What speaks for and against a listener, as operators read it: from a node's state, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.api.evidence import outside_problems, to_evidence, to_outside_view
from controlplane.fleet.model import CoturnState, ListenerProbe, NodeRecord, Probe, Transport
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.outside import ListenerSeen, Outside, PeersSeen, ProberPlace, Sight, Standing
from controlplane.fleet.policy import Policy
from controlplane.fleet.view import FleetView
from controlplane.wire.evidence_api import ListenerEvidence
from tests.builders import AT, failed_probe, make_node, make_record, make_region, make_report

POLICY = Policy()
NOW = 1000.0
URLS = {
    Transport.UDP: "turn:relay.example:3478?transport=udp",
    Transport.TCP: "turn:relay.example:3478?transport=tcp",
    Transport.TLS: "turns:relay.example:5349?transport=tcp",
}
WELL = Outside(
    probed_at=AT,
    sight=Sight.RELAYS,
    listeners=tuple(ListenerSeen(url=url, transport=transport, sight=Sight.RELAYS) for transport, url in URLS.items()),
)


def state(record: NodeRecord | None, outside: Outside | None = None, *, age: float = 1.0) -> NodeState:
    view, node = FleetView(policy=POLICY), make_node()
    view.set_directory([make_region()], [node])
    if record is not None:
        view.put_record(node.node_id, record, received=NOW - age)
    if outside is not None:
        view.put_outside(node.node_id, outside, received=NOW - 30)
    return view.state(node, now=NOW)


def evidence(found: NodeState) -> dict[str, ListenerEvidence]:
    return {each.transport: each for each in to_evidence(found, policy=POLICY, interval_seconds=2.0)}


def failing(transport: Transport, **changes: object) -> Outside:
    bad = ListenerSeen(url=URLS[transport], transport=transport, sight=Sight.FAILS, failure="refused", words="refused", failures=3)
    bad = replace(bad, **changes)  # type: ignore[arg-type] # its fields
    return replace(WELL, listeners=tuple(bad if each.transport is transport else each for each in WELL.listeners))


def test_all_is_well() -> None:
    told = evidence(state(make_record(), WELL))
    assert list(told) == ["udp", "tcp", "tls"]
    for each in told.values():
        assert (each.heartbeat.ok, each.agent.ok, each.outside.ok) == (True, True, True)
        assert (each.heartbeat.age_seconds, each.agent.age_seconds, each.outside.age_seconds) == (1.0, 2.0, 30.0)


@pytest.mark.parametrize(
    ("record", "age", "words"),
    [
        (make_record(), 6.0, "Silent for 6 s."),
        (make_record(report=make_report(coturn_state=CoturnState.DEAD)), 1.0, "coturn is dead."),
        (make_record(report=make_report(goodbye=True)), 1.0, "The agent said goodbye."),
    ],
)
def test_a_heartbeat_speaks_for_the_node(record: NodeRecord, age: float, words: str) -> None:
    told = evidence(state(record, age=age))["tcp"].heartbeat
    assert (told.ok, told.words) == (False, words)


def test_the_agent_speaks_for_each_listener() -> None:
    tried = ListenerProbe(transport=Transport.TCP, ok=True, milliseconds=1.0, failure=None)
    failed = failed_probe()
    probe = Probe(ok=False, age_seconds=2.0, listeners=(*failed.listeners, tried))
    told = evidence(state(make_record(report=make_report(probe=probe))))
    assert (told["udp"].agent.ok, told["udp"].agent.words) == (False, "no answer within 2 s")
    assert (told["tcp"].agent.ok, told["tcp"].agent.words) == (True, "")
    assert evidence(state(make_record(report=make_report(probe=None))))["udp"].agent.ok is None
    assert evidence(state(make_record(report=make_report(secret_versions=()))))["udp"].agent.ok is None


def test_what_was_not_tried_or_could_not_be_says_nothing() -> None:
    assert evidence(state(make_record()))["udp"].outside.ok is None
    assert evidence(state(make_record(), failing(Transport.UDP, sight=Sight.NOT_SENT)))["udp"].outside.ok is None
    refused = evidence(state(make_record(), failing(Transport.UDP, sight=Sight.REFUSES)))["udp"].outside
    assert (refused.ok, refused.expected) == (None, True)


def test_a_node_that_never_reported_has_no_evidence() -> None:
    assert evidence(state(None, WELL)) == {}
    assert to_outside_view(None) is None


def test_a_quarantine_is_told_with_its_end() -> None:
    until = AT + timedelta(minutes=1)
    told = to_outside_view(replace(WELL, standing=Standing.QUARANTINED, held_until=until))
    assert told is not None
    assert (told.standing, told.quarantined_until) == ("quarantined", until)
    over = to_outside_view(replace(WELL, held_until=until))
    assert over is not None
    assert over.quarantined_until is None


def problems(outside: Outside, *, place: ProberPlace | None = None) -> list[tuple[str, str]]:
    found = outside_problems([state(make_record(), outside)], place, policy=POLICY)
    return [(each.severity, each.what) for each in found]


def test_what_somebody_should_look_at() -> None:
    assert problems(WELL) == []
    assert problems(failing(Transport.TLS)) == [("warning", "name-of-node-1 fails from outside by tls: refused.")]
    assert problems(failing(Transport.TLS, failures=2)) == []
    # Its health says it already.
    assert problems(replace(failing(Transport.UDP), standing=Standing.FAILED)) == []
    peers = PeersSeen(tried_at=AT, coturn_boot_id=None, permitted=("10.0.0.0", "::1"))
    assert problems(replace(WELL, peers=peers)) == [
        ("critical", "name-of-node-1 lets its clients reach what they must not: 10.0.0.0, ::1.")
    ]
    assert problems(replace(WELL, peers=replace(peers, permitted=()))) == []
    assert problems(WELL, place=ProberPlace(ours=False, since=None, failing=0, tried=3)) == []
    (told,) = problems(WELL, place=ProberPlace(ours=True, since=AT, failing=3, tried=4))
    assert told[1].startswith("3 of 4 nodes that report well fail from outside")
    assert len(problems(failing(Transport.TLS), place=ProberPlace(ours=True, since=AT, failing=3, tried=4))) == 1


def test_nodes_that_could_not_even_be_tried_are_told_in_one_sentence() -> None:
    words = "DNS: no answer within 3 s"
    listeners = tuple(replace(each, sight=Sight.NOT_SENT, words=words) for each in WELL.listeners)
    unseen = state(make_record(), replace(WELL, sight=Sight.NOT_SENT, listeners=listeners))
    (told,) = outside_problems([unseen, state(make_record(), WELL), unseen], None, policy=POLICY)
    assert told.what == f"From outside, {unseen.node.name}, {unseen.node.name} could not even be tried: {words}."
    ours = ProberPlace(ours=True, since=AT, failing=2, tried=3)
    (told,) = outside_problems([unseen, unseen], ours, policy=POLICY)
    assert "fault is taken for the network" in told.what
