"""Webhooks: what applications send and see, and what a webhook is sent (Standard Webhooks 1.0). Instants are RFC 3339, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

EventType = Literal[
    "credential.revoked", "allocation.started", "allocation.ended", "region.down", "region.up", "node.down", "quota.reached"
]

Url = Annotated[str, Meta(min_length=1, max_length=2048)]
WebhookName = Annotated[str, Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Events = Annotated[list[EventType], Meta(min_length=1, max_length=50)]


class WebhookBody(Struct, frozen=True, kw_only=True):
    """POST /webhooks."""

    url: Url
    events: Events
    name: WebhookName = ""


class WebhookPatch(Struct, frozen=True, kw_only=True):
    """PATCH /webhooks/{id}: what is left out stays as it is."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    name: WebhookName | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class WebhookView(Struct, frozen=True, kw_only=True):
    id: str
    url: str
    name: str
    events: list[str]
    is_active: bool
    inactive_because: str | None
    """`switched_off`, `gone` (the target answered 410) or `failing` (nothing arrived for days); None: it is active."""
    failures: int
    """Failed attempts since the last one that was answered 2xx."""
    failing_since: datetime | None
    created_at: datetime


class WebhookWithSecret(WebhookView, frozen=True, kw_only=True):
    """The answer of POST /webhooks."""

    secret: str
    """`whsec_…`, shown here only."""


class WebhookSecret(Struct, frozen=True, kw_only=True):
    """The answer of POST /webhooks/{id}/rotate-secret."""

    secret: str
    """`whsec_…`, shown here only."""
    old_secret_until: datetime
    """Until then deliveries are signed with both."""


class WebhookList(Struct, frozen=True, kw_only=True):
    items: list[WebhookView]
    next_cursor: str | None


class WebhookQuery(Struct, frozen=True, kw_only=True):
    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class DeliveryQuery(WebhookQuery, frozen=True, kw_only=True):
    state: Literal["pending", "delivered", "given_up"] | None = None


class DeliveryView(Struct, frozen=True, kw_only=True):
    """One event on its way to one webhook."""

    id: str
    event_id: str
    """The header `webhook-id`, the same at every attempt."""
    type: str
    state: str
    """`pending`, `delivered` or `given_up`."""
    attempts: int
    created_at: datetime
    last_attempt_at: datetime | None
    last_status: int | None
    """What the target answered to the last attempt; None: nothing."""
    last_error: str | None
    next_attempt_at: datetime | None
    """None: there is no further one."""


class DeliveryList(Struct, frozen=True, kw_only=True):
    items: list[DeliveryView]
    next_cursor: str | None


class TestOutcome(Struct, frozen=True, kw_only=True):
    """The answer of POST /webhooks/{id}/test."""

    __test__ = False  # no test of pytest's

    delivered: bool
    status: int | None
    milliseconds: float
    failure: str | None
    """In words; None when it was delivered."""


class EventBody(Struct, frozen=True, kw_only=True):
    """What a webhook is sent."""

    type: str
    timestamp: datetime
    """When it happened."""
    data: Mapping[str, Any]
