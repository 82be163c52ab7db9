"""What Linux says about this host, from /proc and /sys; zeros and unknowns where there is none of it (macOS)."""

from __future__ import annotations

import array
import ipaddress
import os
import socket
import struct
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from agents.report import Sample
from agents.settings import AgentSettings
from controlplane.wire.agent_api import Capacity, CapacitySource

PROC = Path("/proc")
SYS = Path("/sys")
ASSUMED_BITS_PER_SECOND = 1e9
"""Almost any server has at least this link; marked as assumed, so that an operator sees that it is a guess."""
MOST_ADDRESSES = 1024
"""Room for the host's IPv4 addresses: a guess far above any relay's."""
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
    packets = settings.capacity_packets_per_second
    bits: float | None
    source: CapacitySource
    if settings.capacity_bits_per_second is not None:
        bits, source = settings.capacity_bits_per_second, "stated"
    else:
        bits, source = link_speed(settings.interface), "link"
    if bits is None:
        bits, source = ASSUMED_BITS_PER_SECOND, "assumed"
    return Capacity(bits_per_second=bits, allocations=allocations, source=source, packets_per_second=packets)


def link_speed(interface: str) -> float | None:
    """Bits per second; None for virtual interfaces, which say -1 or nothing."""
    try:
        megabits = int((SYS / "class" / "net" / interface / "speed").read_text())
    except (OSError, ValueError):
        return None
    return megabits * MEGA if megabits > 0 else None


def interfaces() -> frozenset[str] | None:
    """The names of all there are; None where they cannot be known."""
    try:
        lines = (PROC / "net" / "dev").read_text().splitlines()
    except OSError:
        return None
    return frozenset(name.strip() for name, colon, _ in (line.partition(":") for line in lines) if colon)


def addresses() -> dict[str, str]:
    """Every address of this host with its interface; nothing where the system cannot be asked."""
    return _ipv4_addresses() | _ipv6_addresses()


def default_interface(address: str) -> str | None:
    """The interface that carries the address, else the one of the default route."""
    return addresses().get(address) or _interface_of_ipv4_route() or _interface_of_ipv6_route()


def default_address() -> str | None:
    """The address that packets of the default route leave from. Nothing is sent."""
    # TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849): any address that is not local will do.
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    return None


def _ipv4_addresses() -> dict[str, str]:
    """From the kernel's own list, netdevice(7): one record for each address, under the interface's name or an alias of it."""
    if sys.platform != "linux":
        return {}
    import fcntl

    get_configuration = 0x8912  # SIOCGIFCONF
    record_bytes, name_bytes = 40 if struct.calcsize("P") == 8 else 32, 16  # noqa: PLR2004 - the size of struct ifreq
    address_at = name_bytes + 4  # behind family and port
    room = array.array("B", bytes(record_bytes * MOST_ADDRESSES))
    start, _ = room.buffer_info()
    try:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
            answer = fcntl.ioctl(asking.fileno(), get_configuration, struct.pack("iP", len(room), start))
    except OSError:
        return {}
    used: int = struct.unpack("iP", answer)[0]
    found = {}
    for at in range(0, used, record_bytes):
        record = room[at : at + record_bytes].tobytes()
        name = os.fsdecode(record[:name_bytes].partition(b"\0")[0]).partition(":")[0]
        found[socket.inet_ntoa(record[address_at : address_at + 4])] = name
    return found


def _ipv6_addresses() -> dict[str, str]:
    try:
        lines = (PROC / "net" / "if_inet6").read_text().splitlines()
    except OSError:
        return {}
    columns = [line.split() for line in lines]
    return {str(ipaddress.IPv6Address(int(one[0], 16))): one[-1] for one in columns if one}


def _interface_of_ipv4_route() -> str | None:
    try:
        lines = (PROC / "net" / "route").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if len(columns) > 7 and columns[1] == "00000000" and columns[7] == "00000000":  # noqa: PLR2004 - destination and mask
            return columns[0]
    return None


def _interface_of_ipv6_route() -> str | None:
    """The kernel also lists a default route that rejects, on `lo`."""
    rejects = 0x200
    try:
        lines = (PROC / "net" / "ipv6_route").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        whole = len(columns) > 9 and columns[:2] == ["0" * 32, "00"]  # noqa: PLR2004 - destination, its length … flags, name
        if whole and columns[9] != "lo" and not int(columns[8], 16) & rejects:
            return columns[9]
    return None


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
