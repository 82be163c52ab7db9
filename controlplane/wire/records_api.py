"""Who got what and who used what: credentials, allocations, rooms, clients, usage. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct, field

from controlplane.wire.fleet_api import Slug

Key = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_-]+\Z")]
"""A room or a client, as it was named at the issue."""
Instant = Annotated[datetime, Meta(tz=True)]
Dimension = Literal["project", "room", "client", "region", "node"]
Bucket = Literal["hour", "day"]
AllocationState = Literal["live", "ended"]
Limit = Annotated[int, Meta(ge=1, le=500)]
Cursor = Annotated[str, Meta(max_length=1000)]


class PageQuery(Struct, frozen=True, kw_only=True):
    limit: Limit = 100
    """The most items of the page."""
    cursor: Cursor = ""
    """The `next_cursor` of the page before."""


class TimeQuery(PageQuery, frozen=True, kw_only=True):
    from_: Instant | None = field(default=None, name="from")
    """The first instant; without it, all that is kept."""
    to: Instant | None = None
    """The first instant no more; without it, no end."""


class CredentialQuery(TimeQuery, frozen=True, kw_only=True):
    """GET /credentials. Every filter given must fit. Times are those of the issue."""

    room: Key | None = None
    client: Key | None = None
    """Initiator or receiver."""
    region: Slug | None = None
    node: UUID | None = None


class AllocationQuery(TimeQuery, frozen=True, kw_only=True):
    """GET /allocations. Every filter given must fit. Times are those of the start."""

    room: Key | None = None
    client: Key | None = None
    """Initiator or receiver."""
    region: Slug | None = None
    node: UUID | None = None
    credential: UUID | None = None
    state: AllocationState | None = None
    """Without it, both."""


class UsageQuery(TimeQuery, frozen=True, kw_only=True):
    """GET /usage. At most one of room, client, region and node, and then it is what group_by says."""

    group_by: Dimension | None = None
    """Without it: what is filtered by, else project."""
    bucket: Bucket = "day"
    room: Key | None = None
    client: Key | None = None
    region: Slug | None = None
    node: UUID | None = None


class CredentialView(Struct, frozen=True, kw_only=True):
    """Who got what, when, where, and why that node. The password is kept nowhere."""

    id: UUID
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    token_id: str
    """The token that asked for it."""
    room: str | None
    initiator_client: str | None
    receiver_client: str | None
    client_address: str | None
    """Of the end user; null when it was not to be kept, or is kept no longer."""
    region: str
    node_ids: list[UUID]
    selection: str
    """Why that region: a selection reason."""
    node_selection: str
    """How its nodes were chosen: a node reason, `least-loaded` unless there is trouble."""
    degraded: bool
    """Chosen while the replica did not see the whole fleet."""
    fixed_region: str | None
    preferred_region: str | None


class CredentialList(Struct, frozen=True, kw_only=True):
    items: list[CredentialView]
    """By issued_at and id, the newest first."""
    next_cursor: str | None


class AllocationView(Struct, frozen=True, kw_only=True):
    """One TURN allocation, as the node's agent told of it."""

    id: UUID
    state: AllocationState
    started_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    """client, timeout, revoked, expired, quota, drained, coturn_ended or other."""
    credential_id: UUID | None
    room: str | None
    initiator_client: str | None
    receiver_client: str | None
    client_address: str | None
    transport: str | None
    """From the client to the relay: udp, tcp or tls."""
    region: str
    node_id: UUID
    bytes_from_client: int
    bytes_to_client: int
    packets_from_client: int
    packets_to_client: int
    bits_per_second: int
    """Both directions, at the last measurement."""
    reported_at: datetime
    """When the node last told of it."""


class AllocationList(Struct, frozen=True, kw_only=True):
    items: list[AllocationView]
    """By started_at and id, the newest first."""
    next_cursor: str | None


class SubjectView(Struct, frozen=True, kw_only=True):
    """A room or a client, with its totals since it was first seen. They follow the records within seconds."""

    key: str
    url: str | None
    """The project's link back, from its URL template."""
    first_seen_at: datetime
    last_seen_at: datetime
    credentials: int
    allocations: int
    live_allocations: int
    bytes_from_client: int
    bytes_to_client: int
    bytes_total: int
    minutes: float
    """Of all allocations together."""


class SubjectList(Struct, frozen=True, kw_only=True):
    items: list[SubjectView]
    """By first_seen_at and key, the newest first."""
    next_cursor: str | None


class Companion(Struct, frozen=True, kw_only=True):
    """A client of a room, or a room of a client."""

    key: str
    url: str | None
    last_seen_at: datetime


class RoomDetail(SubjectView, frozen=True, kw_only=True):
    clients: list[Companion]
    """Named in the room's latest 200 credentials; the latest first, at most 50."""
    latest_credentials: list[CredentialView]
    latest_allocations: list[AllocationView]


class ClientDetail(SubjectView, frozen=True, kw_only=True):
    rooms: list[Companion]
    """Named in the client's latest 200 credentials; the latest first, at most 50."""
    latest_credentials: list[CredentialView]
    latest_allocations: list[AllocationView]


class UsageRow(Struct, frozen=True, kw_only=True):
    """What one room (client, region, node, or the whole project) used in one hour or day."""

    at: datetime
    """The begin of the hour or day, UTC."""
    bucket: Bucket
    group_by: Dimension
    key: str
    """The room, client, region or node id; for the project its slug."""
    credentials: int
    """Issued."""
    allocations: int
    """Begun."""
    bytes_from_client: int
    bytes_to_client: int
    bytes_total: int
    minutes: float
    """Of all allocations together."""


class UsageList(Struct, frozen=True, kw_only=True):
    items: list[UsageRow]
    """By at and key, the oldest first."""
    next_cursor: str | None
