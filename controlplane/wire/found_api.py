"""What an agent found out about its host: told by the agent when it changes, shown to operators. It changes no decision."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from controlplane.wire.agent_api import Instant

FINDINGS_MAX = 40
DETAIL_MAX = 500
FindingName = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^[a-z0-9_]+\Z")]
Sentences = Annotated[str, Meta(max_length=DETAIL_MAX, pattern=r"^[^\x00]*\Z")]
Address = Annotated[str, Meta(max_length=45, pattern=r"^[0-9A-Fa-f:.]+\Z")]


class HostFinding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at, as `turnfleet-agent doctor` shows it."""

    name: FindingName
    state: Literal["ok", "warning", "wrong"]
    detail: Sentences
    remedy: Sentences = ""
    """What to do; empty when there is nothing to do."""


class Found(Struct, frozen=True, kw_only=True):
    """POST /agents/found: all of it, each time. Answered 204 when it is stored."""

    examined_at: Instant
    listen_address: Address
    relay_address: Address
    external_address: Address | None = None
    """What stands in front of the relay address, as stated; None: nothing is stated."""
    seen_address: Address | None = None
    """Where a STUN server outside sees the relay address come from; None: none was asked, or none answered."""
    tls_offered: bool = False
    tls_fault: Sentences | None = None
    """Why there is a TLS listener and clients are not told of it."""
    findings: Annotated[list[HostFinding], Meta(max_length=FINDINGS_MAX)] = []


class FoundView(Struct, frozen=True, kw_only=True):
    """The same for operators. Instants are RFC 3339, UTC."""

    reported_at: datetime
    examined_at: datetime
    """By the node's clock."""
    listen_address: str
    relay_address: str
    external_address: str | None
    seen_address: str | None
    source_address: str | None
    """Where the agent's call came from."""
    is_behind_nat: bool
    """The address that clients are told, or are seen to need, is not the host's own."""
    hint: str | None
    """What the addresses tell together, when they do not agree."""
    tls_offered: bool
    tls_fault: str | None
    findings: list[HostFinding]
