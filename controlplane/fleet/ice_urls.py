"""The URLs of a node's listeners (RFC 7064, RFC 7065)."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.fleet.model import Listener, Transport

_ORDER = {Transport.UDP: 0, Transport.TCP: 1, Transport.TLS: 2}


def _authority(listener: Listener) -> str:
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"{host}:{listener.port}"


def stun_urls(listeners: Sequence[Listener]) -> list[str]:
    """One `stun:` URL: the first UDP listener's, since a STUN answer over anything else says nothing about a NAT."""
    return [f"stun:{_authority(each)}" for each in listeners if each.transport is Transport.UDP][:1]


def turn_urls(listeners: Sequence[Listener], *, limit: int) -> list[str]:
    """At most `limit` TURN URLs, only of listeners the node has, the quickest transport first."""
    return [turn_url(each) for each in sorted(listeners, key=lambda listener: _ORDER[listener.transport])][:limit]


def turn_url(listener: Listener) -> str:
    if listener.transport is Transport.TLS:
        return f"turns:{_authority(listener)}?transport=tcp"
    return f"turn:{_authority(listener)}?transport={listener.transport}"
