"""Who has a port of this host."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.coturn import processes
from agents.coturn.config import CLI_ADDRESS
from agents.coturn.orphans import port_fault
from agents.settings import AgentSettings

PROC = Path("/proc")
_LISTENING = "0A"
_LOCAL, _STATE, _INODE = 1, 3, 9
"""Columns of /proc/net/tcp and its like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    pid: int
    program: str
    is_ours: bool
    """A coturn with our configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    transport: Literal["udp", "tcp"]
    address: str
    port: int
    purpose: str
    error: OSError | None
    """Why nobody else could listen there now."""
    holders: tuple[Holder, ...]


def needed(settings: AgentSettings, *, config: Path) -> list[PortFacts]:
    """Every port that coturn listens on. `config` is our coturn's configuration."""
    address, kind = settings.listen_address, socket.SOCK_STREAM
    found = [
        _port(address, settings.port, socket.SOCK_DGRAM, "TURN over UDP", config),
        _port(address, settings.port, kind, "TURN over TCP", config),
    ]
    if settings.serves_tls:
        found.append(_port(address, settings.tls_port, kind, "TURN over TLS", config))
    found.append(_port(CLI_ADDRESS, settings.cli_port, kind, "coturn's command line", config))
    return found


def ephemeral_range() -> tuple[int, int] | None:
    """The ports that this host gives to its own outgoing connections."""
    try:
        first, last = (PROC / "sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return None
    return int(first), int(last)


def _port(address: str, port: int, kind: socket.SocketKind, purpose: str, config: Path) -> PortFacts:
    error = port_fault(address, port, kind)
    transport: Literal["udp", "tcp"] = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    return PortFacts(
        transport=transport,
        address=address,
        port=port,
        purpose=purpose,
        error=error,
        holders=_holders(transport, port, config) if error is not None else (),
    )


def _holders(transport: str, port: int, config: Path) -> tuple[Holder, ...]:
    """Those that can be seen: other users' sockets show only to root."""
    inodes = _inodes(transport, port)
    found = []
    for entry in _entries(PROC):
        if entry.name.isdigit() and inodes & {_target(one) for one in _entries(entry / "fd")}:
            pid = int(entry.name)
            arguments = processes.arguments(pid)
            program = Path(arguments[0]).name if arguments else "ended"
            found.append(Holder(pid=pid, program=program, is_ours=processes.uses_config(pid, config)))
    return tuple(found)


def _inodes(transport: str, port: int) -> set[str]:
    found = set()
    for name in (transport, f"{transport}6"):
        try:
            lines = (PROC / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in (line.split() for line in lines):
            held = int(columns[_LOCAL].rpartition(":")[2], 16)
            if held == port and (transport == "udp" or columns[_STATE] == _LISTENING):
                found.add(f"socket:[{columns[_INODE]}]")
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
