"""Webhooks: where the API tells an application what happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from controlplane.client.call import Call, Pages, get, json_of, nothing, part
from controlplane.client.methods import Driver, Group, call, pages
from controlplane.wire.webhooks_api import (
    DeliveryView,
    EventType,
    TestOutcome,
    WebhookBody,
    WebhookPatch,
    WebhookSecret,
    WebhookView,
    WebhookWithSecret,
)


class Webhooks(Group[Driver]):
    @pages
    @staticmethod
    def list() -> Pages[WebhookView]:
        """The project's webhooks."""
        return Pages(path="/webhooks", item=WebhookView)

    @call
    @staticmethod
    def create(url: str, events: Sequence[EventType], *, name: str = "") -> Call[WebhookWithSecret]:
        """A new webhook. The secret that its deliveries are signed with is shown here only."""
        return Call(
            method="POST",
            path="/webhooks",
            body=WebhookBody(url=url, events=[*events], name=name),
            read=json_of(WebhookWithSecret),
            repeat="limited",
        )

    @call
    @staticmethod
    def show(webhook_id: str) -> Call[WebhookView]:
        """One webhook, never its secret."""
        return get(f"/webhooks/{part(webhook_id)}", WebhookView)

    @call
    @staticmethod
    def update(
        webhook_id: str,
        *,
        url: str | UnsetType = UNSET,
        events: Sequence[EventType] | UnsetType = UNSET,
        name: str | UnsetType = UNSET,
        is_active: bool | UnsetType = UNSET,
    ) -> Call[WebhookView]:
        """Change what is given."""
        return Call(
            method="PATCH",
            path=f"/webhooks/{part(webhook_id)}",
            body=WebhookPatch(
                url=url, events=UNSET if isinstance(events, UnsetType) else [*events], name=name, is_active=is_active
            ),
            read=json_of(WebhookView),
            repeat="refused",
        )

    @call
    @staticmethod
    def delete(webhook_id: str) -> Call[None]:
        """Nothing more is delivered to it."""
        return Call(method="DELETE", path=f"/webhooks/{part(webhook_id)}", read=nothing, repeat="refused")

    @call
    @staticmethod
    def rotate_secret(webhook_id: str) -> Call[WebhookSecret]:
        """A new secret, shown here only. For a while deliveries are signed with both."""
        return Call(
            method="POST", path=f"/webhooks/{part(webhook_id)}/rotate-secret", read=json_of(WebhookSecret), repeat="limited"
        )

    @call
    @staticmethod
    def test(webhook_id: str) -> Call[TestOutcome]:
        """Deliver a test event now, once, and tell how that went."""
        return Call(
            method="POST",
            path=f"/webhooks/{part(webhook_id)}/test",
            read=json_of(TestOutcome),
            repeat="limited",
            takes_seconds=10.0,
        )

    @pages
    @staticmethod
    def deliveries(webhook_id: str, *, state: Literal["pending", "delivered", "given_up"] | None = None) -> Pages[DeliveryView]:
        """What was, is and will be delivered, the newest first."""
        return Pages(path=f"/webhooks/{part(webhook_id)}/deliveries", item=DeliveryView, query={"state": state})
