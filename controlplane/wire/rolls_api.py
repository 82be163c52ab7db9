"""Rolls of regions as operators ask for them and see them. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from controlplane.wire.agent_api import Count
from controlplane.wire.fleet_api import DrainBody


class RollBody(DrainBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /fleet/regions/{slug}/roll. Deadline and force are those of each node's drain."""

    max_unavailable: Annotated[int, Meta(ge=1, le=1000)] = 1
    """At most so many nodes of the region are out of service at a time, those that are so for another reason included."""


class RollQuery(Struct, frozen=True, kw_only=True):
    """GET /fleet/rolls."""

    region: str | None = None
    state: Literal["running", "stopped", "finished"] | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: str = ""
    """`next_cursor` of the page before."""


class RollSummary(Struct, frozen=True, kw_only=True):
    """A roll without its nodes."""

    roll_id: str
    region: str
    state: str
    """running, stopped or finished."""
    reason: str
    max_unavailable: Count
    deadline_seconds: Count
    force: bool
    started_at: datetime
    started_by: str
    """The id of the token that asked for it."""
    ended_at: datetime | None
    """When it finished, or stopped."""
    stopped_by: str
    """The id of the token that stopped it, or has looked at it since; `system`: it stopped by itself. Empty: it did not stop."""
    stopped_because: str
    """In words."""
    nodes: Count
    done: Count
    skipped: Count
    failed: Count


class RollNodeView(Struct, frozen=True, kw_only=True):
    """How far one node has come."""

    node_id: str
    name: str
    step: str
    since_at: datetime
    detail: str
    """Why it was skipped or failed, in words."""


class RollView(RollSummary, frozen=True, kw_only=True):
    waits_for: str
    """Why nothing is under way although nodes wait, in words; empty: that is not so."""
    steps: list[RollNodeView]
    """Of each node, by name."""


class RollList(Struct, frozen=True, kw_only=True):
    items: list[RollSummary]
    next_cursor: str | None
