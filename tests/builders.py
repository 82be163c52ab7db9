"""Complete valid objects. A test sets only what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from controlplane.fleet.issue import Issue
from controlplane.fleet.model import (
    Capacity,
    CoturnState,
    Listener,
    ListenerProbe,
    Load,
    Node,
    NodeRecord,
    Probe,
    Region,
    Report,
    Transport,
)
from controlplane.postgres_store.audit import Actor

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACTOR = Actor(token_id="operator", kind="operator", address=None, request_id="")

LISTENERS = (
    Listener(transport=Transport.UDP, host="relay.example", port=3478),
    Listener(transport=Transport.TCP, host="relay.example", port=3478),
    Listener(transport=Transport.TLS, host="relay.example", port=5349),
)


def make_region(slug: str = "eu-central", **changes: Any) -> Region:
    region = Region(slug=slug, name="Europe", city="Frankfurt", country="DE", latitude=50.11, longitude=8.68)
    return replace(region, **changes)


def make_node(node_id: str = "node-1", **changes: Any) -> Node:
    return replace(Node(node_id=node_id, name=f"name-of-{node_id}", region="eu-central"), **changes)


def make_load(**changes: Any) -> Load:
    load = Load(
        receive_bits_per_second=0.0,
        transmit_bits_per_second=0.0,
        receive_packets_per_second=0.0,
        transmit_packets_per_second=0.0,
        allocations=0,
        cpu_ratio=0.0,
        memory_ratio=0.1,
        open_files=20,
        open_files_limit=1024,
    )
    return replace(load, **changes)


def make_report(**changes: Any) -> Report:
    """Good in every respect."""
    report = Report(
        boot_id="agent-boot-1",
        sequence=7,
        clock_offset_seconds=0.0,
        coturn_state=CoturnState.RUNNING,
        coturn_version="4.6.1",
        coturn_boot_id="coturn-boot-1",
        probe=Probe(ok=True, age_seconds=1.0),
        load=make_load(),
        capacity=Capacity(bits_per_second=1e9, allocations=10_000, source="stated"),
        listeners=LISTENERS,
        secret_versions=(1,),
        agent_version="0.1.0",
    )
    return replace(report, **changes)


def make_record(*, report: Report | None = None, good_streak: int = 10, **changes: Any) -> NodeRecord:
    record = NodeRecord(report=report or make_report(), received_at=AT, good_streak=good_streak, proved_at=AT - timedelta(hours=1))
    return replace(record, **changes)


def failed_probe() -> Probe:
    failed = ListenerProbe(transport=Transport.UDP, ok=False, milliseconds=None, failure="no answer within 2 s")
    return Probe(ok=False, age_seconds=0.2, listeners=(failed,))


def make_issue(number: int = 1, **changes: Any) -> Issue:
    issue = Issue(
        issued_at=AT + timedelta(microseconds=number),
        credential_id=UUID(int=number),
        project_id=UUID(int=99),
        token_id="token-1",
        expires_at=AT + timedelta(seconds=30),
        region="eu-central",
        node_ids=(str(UUID(int=5)),),
        secret_versions=(1,),
        selection="nearest",
        degraded=False,
    )
    return msgspec.structs.replace(issue, **changes)
