"""A node's record as it is stored in Redis: a schema of its own, with a version, so that replicas of two releases can share it."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from controlplane.fleet.model import (
    Capacity,
    CoturnState,
    Listener,
    ListenerProbe,
    Load,
    NodeRecord,
    Probe,
    Report,
    Transport,
)

STORED_VERSION = 1


class RecordUnreadableError(ValueError):
    """A stored record is of a newer version or damaged: it is skipped, the node's next heartbeat replaces it."""


class StoredRecord(msgspec.Struct, frozen=True, array_like=True):
    """Positional, so about 250 bytes a node. New fields go to the end, with a default."""

    version: int
    received_at: float
    good_streak: int
    proved_at: float | None
    boot_id: str
    sequence: int
    clock_offset_seconds: float
    coturn_state: str
    coturn_version: str | None
    coturn_boot_id: str | None
    probe: tuple[bool, float, list[tuple[str, bool, float | None, str | None]]] | None
    load: tuple[float, float, float, float, int, float, float, int, int]
    capacity: tuple[float, int, str, float | None]
    listeners: list[tuple[str, str, int]]
    secret_versions: list[int]
    secrets_drifted: bool
    agent_version: str
    goodbye: bool
    coturn_started_age_seconds: float | None = None
    clock_offset_measured_seconds: float | None = None
    denied_up_to: int = 0
    allocations_started: int | None = None
    certificate_ends_at: float | None = None
    coturn_generation: int = 0
    coturn_failure: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredRecord)


def encode_record(record: NodeRecord) -> bytes:
    report = record.report
    load = report.load
    return _encoder.encode(
        StoredRecord(
            version=STORED_VERSION,
            received_at=record.received_at.timestamp(),
            good_streak=record.good_streak,
            proved_at=None if record.proved_at is None else record.proved_at.timestamp(),
            boot_id=report.boot_id,
            sequence=report.sequence,
            clock_offset_seconds=report.clock_offset_seconds,
            coturn_state=report.coturn_state.value,
            coturn_version=report.coturn_version,
            coturn_boot_id=report.coturn_boot_id,
            probe=None
            if report.probe is None
            else (
                report.probe.ok,
                report.probe.age_seconds,
                [(each.transport.value, each.ok, each.milliseconds, each.failure) for each in report.probe.listeners],
            ),
            load=(
                load.receive_bits_per_second,
                load.transmit_bits_per_second,
                load.receive_packets_per_second,
                load.transmit_packets_per_second,
                load.allocations,
                load.cpu_ratio,
                load.memory_ratio,
                load.open_files,
                load.open_files_limit,
            ),
            capacity=(
                report.capacity.bits_per_second,
                report.capacity.allocations,
                report.capacity.source,
                report.capacity.packets_per_second,
            ),
            listeners=[(each.transport.value, each.host, each.port) for each in report.listeners],
            secret_versions=list(report.secret_versions),
            secrets_drifted=report.secrets_drifted,
            agent_version=report.agent_version,
            goodbye=report.goodbye,
            coturn_started_age_seconds=report.coturn_started_age_seconds,
            clock_offset_measured_seconds=report.clock_offset_measured_seconds,
            denied_up_to=report.denied_up_to,
            allocations_started=report.allocations_started,
            certificate_ends_at=None if report.certificate_ends_at is None else report.certificate_ends_at.timestamp(),
            coturn_generation=report.coturn_generation,
            coturn_failure=report.coturn_failure,
        )
    )


def decode_record(blob: bytes) -> NodeRecord:
    """Raises RecordUnreadableError."""
    try:
        stored = _decoder.decode(blob)
        if stored.version > STORED_VERSION:
            raise RecordUnreadableError(f"A stored record has version {stored.version}; this release reads up to {STORED_VERSION}.")
        return _to_domain(stored)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise RecordUnreadableError(f"A stored record cannot be read: {error}") from error


def _to_domain(stored: StoredRecord) -> NodeRecord:
    receive, transmit, packets_in, packets_out, allocations, cpu, memory, files, files_limit = stored.load
    bits, relay_ports, source, packets = stored.capacity
    report = Report(
        boot_id=stored.boot_id,
        sequence=stored.sequence,
        clock_offset_seconds=stored.clock_offset_seconds,
        coturn_state=CoturnState(stored.coturn_state),
        coturn_version=stored.coturn_version,
        coturn_boot_id=stored.coturn_boot_id,
        probe=None
        if stored.probe is None
        else Probe(
            ok=stored.probe[0],
            age_seconds=stored.probe[1],
            listeners=tuple(
                ListenerProbe(transport=Transport(transport), ok=ok, milliseconds=milliseconds, failure=failure)
                for transport, ok, milliseconds, failure in stored.probe[2]
            ),
        ),
        load=Load(
            receive_bits_per_second=receive,
            transmit_bits_per_second=transmit,
            receive_packets_per_second=packets_in,
            transmit_packets_per_second=packets_out,
            allocations=allocations,
            cpu_ratio=cpu,
            memory_ratio=memory,
            open_files=files,
            open_files_limit=files_limit,
        ),
        capacity=Capacity(bits_per_second=bits, allocations=relay_ports, source=source, packets_per_second=packets),
        listeners=tuple(
            Listener(transport=Transport(transport), host=host, port=port) for transport, host, port in stored.listeners
        ),
        secret_versions=tuple(stored.secret_versions),
        secrets_drifted=stored.secrets_drifted,
        agent_version=stored.agent_version,
        goodbye=stored.goodbye,
        coturn_started_age_seconds=stored.coturn_started_age_seconds,
        clock_offset_measured_seconds=stored.clock_offset_measured_seconds,
        denied_up_to=stored.denied_up_to,
        allocations_started=stored.allocations_started,
        certificate_ends_at=None if stored.certificate_ends_at is None else datetime.fromtimestamp(stored.certificate_ends_at, UTC),
        coturn_generation=stored.coturn_generation,
        coturn_failure=stored.coturn_failure,
    )
    return NodeRecord(
        report=report,
        received_at=datetime.fromtimestamp(stored.received_at, UTC),
        good_streak=stored.good_streak,
        proved_at=None if stored.proved_at is None else datetime.fromtimestamp(stored.proved_at, UTC),
    )
