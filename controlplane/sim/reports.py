"""What a simulated host tells of itself: the very report that the API makes of a real agent's heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.fleet.model import Capacity, CoturnState, Listener, Load, Probe, Report, Transport
from controlplane.sim.fleet import Host

_LISTENERS = (Listener(transport=Transport.UDP, host="relay.example", port=3478),)
_SECRETS = (1,)
_PROBE = Probe(ok=True, age_seconds=1.0)
_BITS_PER_PACKET = 8 * 800.0
"""Video over UDP, headers included."""
_CPU_PER_LOAD = 0.5
"""A full interface takes half of a host's processors: bits are what runs out first."""
_OPEN_FILES_LIMIT = 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One host's measurement of itself."""

    host: int
    sequence: int
    """Counts from 1 without a gap, whether its reports arrive or not."""
    at_seconds: float
    bits_per_second: float
    allocations: int
    allocations_started: int
    """By clients, since it started."""
    clock_offset_seconds: float = 0.0


def make_capacity(host: Host) -> Capacity:
    return Capacity(bits_per_second=host.capacity_bits_per_second, allocations=host.capacity_allocations, source="stated")


def make_report(sample: Sample, host: Host, capacity: Capacity) -> Report:
    """Good in every respect but what the sample says."""
    bits, packets = sample.bits_per_second, sample.bits_per_second / _BITS_PER_PACKET
    return Report(
        boot_id=host.name,
        sequence=sample.sequence,
        clock_offset_seconds=sample.clock_offset_seconds,
        coturn_state=CoturnState.RUNNING,
        coturn_version="4.6.1",
        coturn_boot_id=host.name,
        probe=_PROBE,
        load=Load(
            receive_bits_per_second=bits,  # a relay sends what it receives
            transmit_bits_per_second=bits,
            receive_packets_per_second=packets,
            transmit_packets_per_second=packets,
            allocations=sample.allocations,
            cpu_ratio=min(1.0, _CPU_PER_LOAD * bits / host.capacity_bits_per_second),
            memory_ratio=0.1,
            open_files=sample.allocations,
            open_files_limit=_OPEN_FILES_LIMIT,
        ),
        capacity=capacity,
        listeners=_LISTENERS,
        secret_versions=_SECRETS,
        allocations_started=sample.allocations_started,
    )
