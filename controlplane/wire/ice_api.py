"""The application API: ICE credentials and regions. Field names are the published API's and W3C webrtc's."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class StunServer(Struct, frozen=True, kw_only=True):
    urls: list[str]


class TurnServer(Struct, frozen=True, kw_only=True):
    username: str
    credential: str
    """The TURN password: W3C calls it so."""
    urls: list[str]


class RegionTried(Struct, frozen=True, kw_only=True):
    region: str
    rtt_milliseconds: float | None
    utilisation: float | None
    outcome: str


class NodeTried(Struct, frozen=True, kw_only=True):
    node_id: str
    utilisation: float
    """It would have with this credential."""


class SelectionView(Struct, frozen=True, kw_only=True):
    """Why this node: only with `?explain=true` and an operator token."""

    region: str
    reason: str
    regions: list[RegionTried]
    """In the order they were looked at."""
    nodes: list[NodeTried]
    """The sampled contenders, the best first."""


class IceReply(Struct, frozen=True, kw_only=True, rename={"ice_servers": "iceServers", "expires_at": "expiresAt"}):
    """Only two top-level keys by default, so that the whole reply can be handed to RTCPeerConnection."""

    ice_servers: list[StunServer | TurnServer]
    expires_at: str
    selection: SelectionView | UnsetType = UNSET


class RegionView(Struct, frozen=True, kw_only=True):
    """One entry of GET /regions: eight keys, none ever null (the published Dart client casts each of them)."""

    slug: str
    nat2: str
    """ISO 3166-1 alpha-2 country."""
    city: str
    name: str
    lat: float
    lon: float
    is_online: bool
    """Some node of it is healthy."""
    is_operational: bool
    """It takes new credentials now."""
