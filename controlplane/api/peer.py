"""The address of whoever called us, through trusted proxies only."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from litestar.types import Scope


def peer_address(scope: Scope, trusted: tuple[IPv4Network | IPv6Network, ...]) -> str | None:
    """The socket's peer; behind trusted proxies the right-most address in X-Forwarded-For that is none of them.

    Everything further left was written by a stranger. Without trusted proxies the header is not even read.
    """
    client = scope.get("client")
    peer = client[0] if client else None
    if not trusted or peer is None or not _within(peer, trusted):
        return peer
    hops = [
        part.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for part in value.decode("ascii", "replace").split(",")
    ]
    for hop in reversed(hops):
        if not _within(hop, trusted):
            return hop
        peer = hop
    return peer


def _within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
