"""Ports that coturn listens on, and those that it relays from."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from agents.doctor.look.ports import PortFacts
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.agent_api import Capacity
from controlplane.wire.findings import Finding, ok, warning, wrong

MOST_BITS_PER_ALLOCATION = 10e6
"""Far above a video call in high definition (2 to 4 Mbit/s): where filling the link would need more, ports run out first."""
MEGA = 1e6


def listening(ports: Sequence[PortFacts]) -> list[Finding]:
    found = [finding for one in ports if (finding := _port(one)) is not None]
    free = [f"{one.port}/{one.transport}" for one in ports if one.error is None]
    if free:
        found.insert(0, ok("ports", f"Free for coturn: {', '.join(free)}."))
    return found


def _port(port: PortFacts) -> Finding | None:
    if port.error is None:
        return None
    where = f"{port.port}/{port.transport} on {port.address} ({port.purpose})"
    if port.error.errno != errno.EADDRINUSE:
        detail = f"{where} could not be tried: {port.error.strerror}."
        if port.error.errno == errno.EADDRNOTAVAIL:
            return wrong("ports", detail, f"This host does not have {port.address}: correct {PREFIX}LISTEN_ADDRESS.")
        return warning("ports", detail, "Run this as the user that the agent runs as.")
    if port.holders and all(one.is_ours for one in port.holders):
        return ok("ports", f"{where} is held by our own coturn (process {port.holders[0].pid}).")
    others = [f"{one.program} (process {one.pid})" for one in port.holders if not one.is_ours]
    if not others:
        detail = f"{where} is held by another process, which this user cannot see."
        return wrong("ports", detail, f"See who it is as root: ss -lpn{port.transport[0]} sport = :{port.port}")
    detail = f"{where} is held by {', '.join(others)}: two servers on one port share its clients between them."
    if any(one.program == "turnserver" for one in port.holders):
        return wrong("ports", detail, "Switch the distribution's coturn off: systemctl disable --now coturn")
    return wrong("ports", detail, "Stop it, or set another port.")


def relaying(settings: AgentSettings, capacity: Capacity, ephemeral: tuple[int, int] | None) -> list[Finding]:
    name = "relay_ports"
    first, last = settings.relay_ports
    number = last - first + 1
    found = []
    if settings.total_quota > number:
        detail = (
            f"TOTAL_QUOTA allows {settings.total_quota} allocations, and there are {number} relay ports: clients above get 508."
        )
        found.append(warning(name, detail, f"Widen {PREFIX}RELAY_PORTS, or lower {PREFIX}TOTAL_QUOTA."))
    each = capacity.bits_per_second / capacity.allocations
    if each > MOST_BITS_PER_ALLOCATION:
        detail = (
            f"At most {capacity.allocations} allocations fit, each of which would have to carry {each / MEGA:.0f} Mbit/s to fill "
            f"{capacity.bits_per_second / MEGA:.0f} Mbit/s: the relay is full long before its link is."
        )
        found.append(warning(name, detail, f"Widen {PREFIX}RELAY_PORTS, or raise {PREFIX}TOTAL_QUOTA."))
    if ephemeral is not None and first <= ephemeral[1] and last >= ephemeral[0]:
        detail = f"{first}-{last} overlaps the ports {ephemeral[0]}-{ephemeral[1]} that this host gives to its own connections."
        found.append(warning(name, detail, f"Set {PREFIX}RELAY_PORTS outside, or change net.ipv4.ip_local_port_range."))
    return found or [ok(name, f"{first}-{last}: {number} ports, for at most {capacity.allocations} allocations at a time.")]
