"""The application API: ICE credentials and regions. Field names are the published API's and W3C webrtc's."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Tag = Annotated[str, Meta(max_length=100, pattern=r"^[A-Za-z0-9_-]*\Z")]


class IceRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be asked for: as JSON, as a form, or partly in the query. api/decode_ice.py reads it by its bytes."""

    initiator_client: Tag | None = None
    """Who begins the call. Empty is the same as absent."""
    receiver_client: Tag | None = None
    room: Tag | None = None
    ttl: Annotated[int, Meta(ge=1, le=86_400)] = 30
    """Seconds until new allocations are refused; at most the project's maximum."""
    fixed_region: str | None = None
    """This region and no other: 503 when it is down or full."""
    preferred_region: str | None = None
    """This region first, else the nearest to it. `preffered_region` is read as well."""
    servers: Annotated[int, Meta(ge=1, le=2)] = 1
    """How many nodes of the region."""


class IceQueryParameters(Struct, frozen=True, kw_only=True):
    """Beside the body's fields, which the query may hold as well where the body lacks them."""

    explain: bool = False
    """Adds `selection`. For operator tokens with the scope fleet:read."""


class IceServer(Struct, frozen=True, kw_only=True):
    """W3C's RTCIceServer. A STUN server has `urls` alone."""

    username: str | UnsetType = UNSET
    credential: str | UnsetType = UNSET
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
    node_reason: str
    """How the nodes were chosen: `least-loaded`, `held`, `suspect` or `overfull`."""
    regions: list[RegionTried]
    """In the order they were looked at."""
    nodes: list[NodeTried]
    """The sampled contenders, the best first."""


class IceReply(Struct, frozen=True, kw_only=True, rename={"ice_servers": "iceServers", "expires_at": "expiresAt"}):
    """Only two top-level keys by default, so that the whole reply can be handed to RTCPeerConnection."""

    ice_servers: list[IceServer]
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
