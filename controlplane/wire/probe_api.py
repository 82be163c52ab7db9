"""What came of trying a relay as a client does. Also what POST /fleet/nodes/{node_id}/probe takes and answers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from controlplane.wire.agent_api import Transport


class RelayFailure(StrEnum):
    """What a listener failed with: the closed list."""

    DNS = "dns"
    DNS_NO_ANSWER = "dns_no_answer"
    """By the name servers of the one who tries: like `not_sent`."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NOT_SENT = "not_sent"
    """By the one who tries: it says nothing about the relay."""
    NO_ANSWER = "no_answer"
    CLOSED = "closed"
    TLS_NAME = "tls_name"
    TLS_EXPIRED = "tls_expired"
    TLS_NOT_YET_VALID = "tls_not_yet_valid"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_FAILED = "tls_failed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    ALLOCATION_LOST = "allocation_lost"
    QUOTA_REACHED = "quota_reached"
    NO_RELAY_PORT = "no_relay_port"
    OTHER_CODE = "other_code"
    NO_RELAY_ADDRESS = "no_relay_address"
    NO_ECHO = "no_echo"
    URL_UNUSABLE = "url_unusable"


class UrlProbe(Struct, frozen=True, kw_only=True):
    """One TURN URL: an allocation through it, and a packet that went through the relay and came back. Times are in milliseconds."""

    url: str
    transport: Transport | None
    """None: the URL cannot be read."""
    ok: bool
    milliseconds: float | None
    """From the look-up of the name to the packet that came back; None when it did not."""
    connect_milliseconds: float | None
    """The name's look-up, and TCP and TLS where there are any."""
    allocate_milliseconds: float | None
    round_trip_milliseconds: float | None
    """Of the relayed packet."""
    failure: RelayFailure | None
    words: str | None
    """The failure for people."""
    certificate_expires_at: datetime | None = None
    """Of a TLS listener whose certificate is good for its name."""


class NodeProbeBody(Struct, frozen=True, kw_only=True):
    """POST /fleet/nodes/{node_id}/probe. No body: nothing more than its listeners."""

    peers: bool = False
    """Also ask the relay for addresses that no client may reach through it."""


class NodeProbeView(Struct, frozen=True, kw_only=True):
    node_id: str
    name: str
    at: datetime
    ok: bool
    """Every listener relays, and no forbidden peer is permitted."""
    as_expected: bool
    """`ok`, or 401 of a draining node whose secrets are withdrawn."""
    note: str | None
    """What has to be known to judge it; None: nothing."""
    listeners: list[UrlProbe]
    permitted_peers: list[str] | None
    """Forbidden addresses that the relay permits: empty is good. None: not asked for, or it could not be tried."""
    refused_peers: list[str] | None
    """Those that it refuses, as it should."""
