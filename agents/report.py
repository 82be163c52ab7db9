"""What is, as a heartbeat. Pure: counters and readings in, wire values out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.wire.agent_api import Load

SHORTEST_WINDOW_SECONDS = 0.5
"""Rates over less are noise: heartbeats that are sent at once repeat the last rates instead."""

CPU_MEMORY_SECONDS = 15.0
"""Time constant of the CPU figure: a guess, between the two seconds of a heartbeat and the minutes of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counters of one moment. They only grow, except when the host or the interface starts anew."""

    at: float
    """Monotonic seconds."""
    receive_bytes: int
    transmit_bytes: int
    receive_packets: int
    transmit_packets: int
    cpu_busy: float
    cpu_total: float
    memory_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    receive_bits_per_second: float = 0.0
    transmit_bits_per_second: float = 0.0
    receive_packets_per_second: float = 0.0
    transmit_packets_per_second: float = 0.0
    cpu_ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """The sample that the last window ended with, and that window's rates."""

    sample: Sample
    rates: Rates


def metered(before: Meter | None, now: Sample) -> Meter:
    """The next window, or the one before where too little time has passed."""
    if before is None:
        return Meter(sample=now, rates=Rates())
    seconds = now.at - before.sample.at
    if seconds < SHORTEST_WINDOW_SECONDS:
        return before
    then = before.sample
    bits = 8
    return Meter(
        sample=now,
        rates=Rates(
            receive_bits_per_second=bits * grown(then.receive_bytes, now.receive_bytes) / seconds,
            transmit_bits_per_second=bits * grown(then.transmit_bytes, now.transmit_bytes) / seconds,
            receive_packets_per_second=grown(then.receive_packets, now.receive_packets) / seconds,
            transmit_packets_per_second=grown(then.transmit_packets, now.transmit_packets) / seconds,
            cpu_ratio=_smoothed(before.rates.cpu_ratio, _share(then, now), seconds),
        ),
    )


def grown(before: float, now: float) -> float:
    """How far a counter went. One that fell began again at zero: then what it shows is what was counted since."""
    return now - before if now >= before else now


def load(meter: Meter, *, allocations: int, memory_ratio: float, open_files: int, open_files_limit: int) -> Load:
    rates = meter.rates
    return Load(
        receive_bits_per_second=rates.receive_bits_per_second,
        transmit_bits_per_second=rates.transmit_bits_per_second,
        receive_packets_per_second=rates.receive_packets_per_second,
        transmit_packets_per_second=rates.transmit_packets_per_second,
        allocations=allocations,
        cpu_ratio=rates.cpu_ratio,
        memory_ratio=memory_ratio,
        open_files=open_files,
        open_files_limit=open_files_limit,
    )


def _smoothed(before: float, now: float, seconds: float) -> float:
    """An exponential mean: an upgrade or a cron job that takes all cores for a moment must not take the node out."""
    return before + (now - before) * (1 - math.exp(-seconds / CPU_MEMORY_SECONDS))


def _share(before: Sample, now: Sample) -> float:
    """Busy time of all time. A fall of the total is a new start, and tells nothing about this window."""
    total = now.cpu_total - before.cpu_total
    if total <= 0:
        return 0.0
    return min(1.0, max(0.0, (now.cpu_busy - before.cpu_busy) / total))
