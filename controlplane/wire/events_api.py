"""What happened to the fleet, as operators read it page by page or follow it live. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from controlplane.wire.tenants_api import Instant, PageQuery

EventId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""PostgreSQL's. What happened later has a higher one."""
MAX_EVENT_ID = 2**63 - 1


class EventStreamQuery(Struct, frozen=True, kw_only=True):
    """GET /fleet/events/stream."""

    node: str | None = None
    """A node's id or name."""
    region: str | None = None
    kind: str | None = None
    """Such as node.health."""


class EventQuery(PageQuery, frozen=True, kw_only=True):
    """GET /fleet/events."""

    node: str | None = None
    """A node's id or name."""
    region: str | None = None
    kind: str | None = None
    """Such as node.health."""
    since: Instant | None = field(default=None, name="from")
    until: Instant | None = field(default=None, name="to")


class FleetEventView(Struct, frozen=True, kw_only=True):
    id: EventId
    happened_at: datetime
    kind: str
    """`thing.what`, as in node.health."""
    region: str | None
    node_id: str | None
    node: str | None
    """Its name; None when it was forgotten, or when the event is not about one."""
    was: str | None
    became: str | None
    reason: str
    detail: str
    """In words; may be empty."""
    actor: str
    """The id of the token that asked for it; `system` for what happened by itself."""


class FleetEventList(Struct, frozen=True, kw_only=True):
    items: list[FleetEventView]
    next_cursor: str | None


class ReloadNotice(Struct, frozen=True, kw_only=True):
    """Data of the stream's event `reload`: some events were not, or cannot be, sent."""

    reason: Literal["too_old", "too_far_behind", "too_slow", "unknown_id"]
    detail: str
