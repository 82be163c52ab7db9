"""What Linux says about this host, from /proc and /sys; zeros and unknowns where there is none of it (macOS)."""

from __future__ import annotations

import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agents.report import Sample
from agents.settings import AgentSettings
from controlplane.wire.agent_api import Capacity

PROC = Path("/proc")
SYS = Path("/sys")
ASSUMED_BITS_PER_SECOND = 1e9
"""Almost any server has at least this link; marked as assumed, so that an operator sees that it is a guess."""
MEGA = 1e6
KIBI = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFiles:
    count: int
    limit: int
    """0 when not known."""


def sample(interface: str) -> Sample:
    """All counters of one moment."""
    network = _network(interface)
    busy, total = _cpu()
    return Sample(
        at=time.monotonic(),
        receive_bytes=network[0],
        receive_packets=network[1],
        transmit_bytes=network[2],
        transmit_packets=network[3],
        cpu_busy=busy,
        cpu_total=total,
        memory_ratio=_memory_ratio(),
    )


def open_files(pid: int | None) -> OpenFiles:
    """What coturn holds. Another user's process shows nothing: then both are 0."""
    if pid is None:
        return OpenFiles(count=0, limit=0)
    try:
        count = sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
        lines = (PROC / str(pid) / "limits").read_text().splitlines()
    except OSError:
        return OpenFiles(count=0, limit=0)
    limits = [line.split()[3] for line in lines if line.startswith("Max open files")]
    return OpenFiles(count=count, limit=int(limits[0]) if limits and limits[0].isdigit() else 0)


def capacity(settings: AgentSettings) -> Capacity:
    """Stated by the operator, else the link's speed, else assumed."""
    allocations = settings.allocation_capacity
    if settings.capacity_bits_per_second is not None:
        return Capacity(bits_per_second=settings.capacity_bits_per_second, allocations=allocations, source="stated")
    speed = link_speed(settings.interface)
    if speed is not None:
        return Capacity(bits_per_second=speed, allocations=allocations, source="link")
    return Capacity(bits_per_second=ASSUMED_BITS_PER_SECOND, allocations=allocations, source="assumed")


def link_speed(interface: str) -> float | None:
    """Bits per second; None for virtual interfaces, which say -1 or nothing."""
    try:
        megabits = int((SYS / "class" / "net" / interface / "speed").read_text())
    except (OSError, ValueError):
        return None
    return megabits * MEGA if megabits > 0 else None


def default_interface() -> str | None:
    """The interface of the default route."""
    try:
        lines = (PROC / "net" / "route").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if len(columns) > 7 and columns[1] == "00000000" and columns[7] == "00000000":  # noqa: PLR2004 - destination and mask
            return columns[0]
    return None


def default_address() -> str | None:
    """The address that packets of the default route leave from. Nothing is sent."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): any address that is not local will do.
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _network(interface: str) -> tuple[int, int, int, int]:
    """Received bytes and packets, sent bytes and packets."""
    try:
        lines = (PROC / "net" / "dev").read_text().splitlines()
    except OSError:
        return 0, 0, 0, 0
    for line in lines:
        name, colon, rest = line.partition(":")
        if colon and name.strip() == interface:
            numbers = rest.split()
            return int(numbers[0]), int(numbers[1]), int(numbers[8]), int(numbers[9])
    return 0, 0, 0, 0


def _cpu() -> tuple[float, float]:
    """Busy and total time of all cores, in ticks. Without /proc the load average stands in for the busy share."""
    try:
        first = (PROC / "stat").read_text().split("\n", 1)[0]
    except OSError:
        now = time.monotonic()
        return now * min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), now
    # user nice system idle iowait irq softirq steal; guest time is part of user already.
    numbers = [float(one) for one in first.split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def _memory_ratio() -> float:
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = {name: int(rest.split()[0]) * KIBI for name, _, rest in (line.partition(":") for line in lines) if rest}
    total = sizes.get("MemTotal", 0)
    return 1.0 - sizes.get("MemAvailable", total) / total if total else 0.0
