"""A listener, and the URL that names it (RFC 7064, RFC 7065)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controlplane.wire.agent_api import Transport

_URL = re.compile(
    r"(?P<scheme>stun|turn|turns):(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<host>[^:?\[\]\s/@]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>[a-z]+))?",
    re.ASCII,
)
_PORT, _TLS_PORT = 3478, 5349
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One listener, and how to reach it from here."""

    transport: Transport
    address: str
    """Or a name."""
    port: int
    server_name: str
    """What its certificate must be for."""


def parse_url(url: str) -> Target:
    """The listener of a `stun:`, `turn:` or `turns:` URL. Raises ValueError with a sentence for one that cannot be used here."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("It is no stun:, turn: or turns: URL.")
    host = parts["literal"] or parts["host"]
    secure = parts["scheme"] == "turns"
    port = int(parts["port"] or (_TLS_PORT if secure else _PORT))
    if not 0 < port <= _MOST_PORT:
        raise ValueError(f"{port} is no port.")
    wanted = parts["transport"] or ("tcp" if secure else "udp")
    transport: Transport
    if wanted == "tcp":
        transport = "tls" if secure else "tcp"
    elif wanted == "udp" and not secure:
        transport = "udp"
    else:
        raise ValueError("DTLS is not tried here." if wanted == "udp" else f"{wanted} is no transport of TURN.")
    return Target(transport=transport, address=host, port=port, server_name=host)
