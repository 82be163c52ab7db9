"""What speaks for and against each listener of a node, for operators. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from controlplane.wire.agent_api import Count, Transport


class Witness(Struct, frozen=True, kw_only=True):
    """What one kind of evidence says of a listener."""

    ok: bool | None
    """None: it says nothing."""
    words: str
    """Why it is not well, or why nothing is said; empty when all is well."""
    age_seconds: float | None
    """None: there was none yet."""


class OutsideWitness(Witness, frozen=True, kw_only=True):
    """Of the control plane, which relays a packet through the listener."""

    expected: bool
    """It refused, and should: its secrets are withdrawn, or it is draining."""
    failure: str | None
    milliseconds: float | None
    """From the look-up of the name to the packet that came back."""
    failures: Count
    """In a row."""
    certificate_expires_at: datetime | None
    """Of a TLS listener whose certificate is good for its name."""


class ListenerEvidence(Struct, frozen=True, kw_only=True):
    """One listener of the node's newest report."""

    url: str
    transport: Transport
    heartbeat: Witness
    """What the node says of itself: that it lives, and that coturn runs."""
    agent: Witness
    """An allocation and an echo that the agent made on the node."""
    outside: OutsideWitness


class OutsideView(Struct, frozen=True, kw_only=True):
    """What the tries from outside amount to."""

    standing: str
    since: datetime | None
    """None: it was always so, as far as is known."""
    failures: Count
    """Bad rounds in a row that count."""
    quarantined_until: datetime | None
    """While it is quarantined."""
    permitted_peers: list[str] | None
    """Addresses that no client may reach, and that the relay permits: empty is good. None: it was not asked yet."""
    peers_asked_at: datetime | None
