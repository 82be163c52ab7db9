"""Wire types to domain types and back: the only such place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from controlplane.api.evidence import to_outside_view
from controlplane.fleet import model
from controlplane.fleet.coturn_advisories import advisories_of
from controlplane.fleet.eligibility import signing_version
from controlplane.fleet.intent import phase
from controlplane.fleet.model import Health, Region, Report
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.region_load import region_load
from controlplane.flows.denials import Delta
from controlplane.wire import agent_api, fleet_api
from controlplane.wire.evidence_api import ListenerEvidence
from controlplane.wire.found_api import FoundView
from controlplane.wire.ice_api import RegionView


def to_report(
    beat: agent_api.Heartbeat, *, received_unix: float, secret_versions: tuple[int, ...], secrets_drifted: bool
) -> Report:
    """A heartbeat as the core knows it; its secrets were checked by the caller."""
    probe = beat.probe
    return Report(
        boot_id=beat.boot_id,
        sequence=beat.sequence,
        clock_offset_seconds=beat.sent_at - received_unix,
        coturn_state=model.CoturnState(beat.coturn.state),
        coturn_version=beat.coturn.version,
        coturn_boot_id=beat.coturn.boot_id,
        probe=None
        if probe is None
        else model.Probe(
            ok=probe.ok,
            age_seconds=probe.age_seconds,
            listeners=tuple(
                model.ListenerProbe(
                    transport=model.Transport(each.transport),
                    ok=each.ok,
                    milliseconds=each.milliseconds,
                    failure=None if each.failure is None else each.failure.replace("\0", ""),
                )
                for each in probe.listeners
            ),
        ),
        load=model.Load(
            receive_bits_per_second=beat.load.receive_bits_per_second,
            transmit_bits_per_second=beat.load.transmit_bits_per_second,
            receive_packets_per_second=beat.load.receive_packets_per_second,
            transmit_packets_per_second=beat.load.transmit_packets_per_second,
            allocations=beat.load.allocations,
            cpu_ratio=beat.load.cpu_ratio,
            memory_ratio=beat.load.memory_ratio,
            open_files=beat.load.open_files,
            open_files_limit=beat.load.open_files_limit,
        ),
        capacity=model.Capacity(
            bits_per_second=beat.capacity.bits_per_second,
            allocations=beat.capacity.allocations,
            source=beat.capacity.source,
            packets_per_second=beat.capacity.packets_per_second,
        ),
        listeners=tuple(
            model.Listener(transport=model.Transport(each.transport), host=each.host, port=each.port) for each in beat.listeners
        ),
        secret_versions=secret_versions,
        secrets_drifted=secrets_drifted,
        agent_version=beat.agent_version,
        coturn_started_age_seconds=beat.coturn.started_age_seconds,
        denied_up_to=beat.denied_up_to,
        allocations_started=beat.allocations_started,
        certificate_ends_at=None if beat.certificate_ends_at is None else datetime.fromtimestamp(beat.certificate_ends_at, UTC),
        coturn_generation=beat.coturn_generation,
        coturn_failure=beat.coturn_failure or "",
    )


def _advisories(coturn_version: str | None) -> list[fleet_api.CoturnAdvisory]:
    return [
        fleet_api.CoturnAdvisory(id=each.advisory_id, mended_in=".".join(map(str, each.mended_in)), effect=each.effect)
        for each in advisories_of(coturn_version)
    ]


def to_denials_delta(delta: Delta | None) -> agent_api.DenialsDelta | None:
    if delta is None:
        return None
    return agent_api.DenialsDelta(
        up_to=delta.up_to,
        denials=[agent_api.Denial(credential_id=each.credential_id, expires_at=each.expires_at_unix) for each in delta.denied],
    )


def _node_fields(state: NodeState, now: datetime) -> dict[str, object]:
    node, report = state.node, None if state.record is None else state.record.report
    coturn_version = None if report is None else report.coturn_version
    return {
        "node_id": node.node_id,
        "name": node.name,
        "region": node.region,
        "health": state.verdict.health.value,
        "health_reason": state.verdict.reason.value,
        "health_detail": state.verdict.detail,
        "intent": node.intent.value,
        "intent_reason": node.intent_reason,
        "intent_at": node.intent_at,
        "intent_by": node.intent_by,
        "drain": None if node.drain is None else _drain(node.drain, state, now),
        "eligible": state.eligible,
        "ineligible_because": [reason.value for reason in state.ineligibility],
        "utilisation": round(state.utilisation, 4),
        "last_report_age_seconds": None if state.age_seconds is None else round(state.age_seconds, 2),
        "agent_version": None if report is None else report.agent_version,
        "coturn_version": coturn_version,
        "coturn_advisories": _advisories(coturn_version),
    }


def _drain(drain: model.Drain, state: NodeState, now: datetime) -> fleet_api.DrainView:
    return fleet_api.DrainView(
        phase=phase(drain, now=now).value,
        deadline_at=drain.deadline_at,
        force=drain.force,
        allocations_left=None if state.record is None else state.record.report.load.allocations,
    )


def to_node_view(state: NodeState, *, now: datetime) -> fleet_api.NodeView:
    """`now` is PostgreSQL's: it stamped the drain."""
    return fleet_api.NodeView(**_node_fields(state, now))  # type: ignore[arg-type]


def to_node_detail(
    state: NodeState, *, now: datetime, evidence: list[ListenerEvidence], found: FoundView | None = None
) -> fleet_api.NodeDetail:
    node, record = state.node, state.record
    report = None if record is None else record.report
    return fleet_api.NodeDetail(
        **_node_fields(state, now),  # type: ignore[arg-type]
        joined_at=node.joined_at,
        token=fleet_api.NodeTokenView(
            generation=node.token_generation, since_at=node.token_at, next_offered_at=node.token_wanted_at
        ),
        certificate_ends_at=None if report is None else report.certificate_ends_at,
        found=found,
        clock_offset_seconds=None if report is None else round(report.clock_offset_seconds, 3),
        coturn=None
        if report is None
        else agent_api.Coturn(
            state=report.coturn_state.value,
            version=report.coturn_version,
            boot_id=report.coturn_boot_id,
            started_age_seconds=report.coturn_started_age_seconds,
        ),
        probe=None if report is None or report.probe is None else _probe(report.probe),
        load=None if report is None else _load(report.load),
        capacity=None
        if report is None
        else agent_api.Capacity(
            bits_per_second=report.capacity.bits_per_second,
            allocations=report.capacity.allocations,
            source=report.capacity.source,  # type: ignore[arg-type]
            packets_per_second=report.capacity.packets_per_second,
        ),
        safe_bits_per_second=None if state.safe is None else round(state.safe.bits_per_second),
        safe_allocations=None if state.safe is None else round(state.safe.allocations, 1),
        listeners=[]
        if report is None
        else [agent_api.Listener(transport=each.transport.value, host=each.host, port=each.port) for each in report.listeners],
        secret_versions=list(node.wanted_versions),
        secret_versions_loaded=[] if report is None else list(report.secret_versions),
        secrets_drifted=report is not None and report.secrets_drifted,
        signing_version=signing_version(node, record),
        evidence=evidence,
        outside=to_outside_view(state.outside),
    )


def _probe(probe: model.Probe) -> agent_api.Probe:
    return agent_api.Probe(
        ok=probe.ok,
        age_seconds=probe.age_seconds,
        listeners=[
            agent_api.ListenerProbe(
                transport=each.transport.value,
                ok=each.ok,
                milliseconds=each.milliseconds,
                failure=each.failure,
            )
            for each in probe.listeners
        ],
    )


def _load(load: model.Load) -> agent_api.Load:
    return agent_api.Load(
        receive_bits_per_second=load.receive_bits_per_second,
        transmit_bits_per_second=load.transmit_bits_per_second,
        receive_packets_per_second=load.receive_packets_per_second,
        transmit_packets_per_second=load.transmit_packets_per_second,
        allocations=load.allocations,
        cpu_ratio=load.cpu_ratio,
        memory_ratio=load.memory_ratio,
        open_files=load.open_files,
        open_files_limit=load.open_files_limit,
    )


def count_by_health(states: Iterable[NodeState]) -> dict[str, int]:
    """Every health, those without nodes as 0."""
    counted = Counter(state.verdict.health for state in states)
    return {health.value: counted[health] for health in Health}


def to_fleet_region(region: Region, states: Sequence[NodeState], *, is_operational: bool) -> fleet_api.FleetRegionView:
    load = region_load(states)
    return fleet_api.FleetRegionView(
        slug=region.slug,
        name=region.name,
        city=region.city,
        country=region.country,
        latitude=region.latitude,
        longitude=region.longitude,
        is_online=any(state.verdict.health in {Health.UP, Health.SUSPECT} for state in states),
        is_operational=is_operational,
        nodes=len(states),
        nodes_by_health=count_by_health(states),
        eligible_nodes=load.eligible_nodes,
        utilisation=None if load.utilisation is None else round(load.utilisation, 4),
        allocations=load.allocations,
        bits_per_second=round(load.bits_per_second),
        safe_bits_per_second=round(load.safe_bits_per_second),
    )


def to_region_view(region: Region, *, is_online: bool, is_operational: bool) -> RegionView:
    return RegionView(
        slug=region.slug,
        nat2=region.country,
        city=region.city,
        name=region.name,
        lat=region.latitude,
        lon=region.longitude,
        is_online=is_online,
        is_operational=is_operational,
    )
