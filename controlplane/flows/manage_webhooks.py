"""Webhooks as their owners make, change, try and remove them. Each change is audited in its own transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from controlplane.flows.webhook_attempt import Attempt, sender_to
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.flows.webhook_target import Targets
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.deliveries import give_up_pending
from controlplane.postgres_store.tenants import Project
from controlplane.postgres_store.webhooks import (
    Webhook,
    count_webhooks,
    delete_webhook,
    find_webhook,
    insert_webhook,
    lock_webhook,
    set_webhook_secret,
    update_webhook,
)
from controlplane.wire.redacted import Redacted
from controlplane.wire.webhooks_api import EventBody

MOST_PER_PROJECT = 20
OLD_SECRET_HOURS = 24
_TESTS_AT_ONCE = 32
_TESTS_PER_PROJECT = 2
"""A test may take ten seconds of a connection: no project needs many at once."""


class WebhookUnknownError(Exception):
    """The project has no such webhook."""


class TooManyWebhooksError(Exception):
    """The project has as many as it may."""


class TooManyTestsError(Exception):
    """As many tests run as may at the same time."""


class WebhookManager:
    """One per API process."""

    def __init__(self, database: Database, secrets: WebhookSecrets, targets: Targets) -> None:
        self._database = database
        self._secrets = secrets
        self._targets = targets
        self._testing: Counter[UUID] = Counter()

    async def create(
        self, project: Project, actor: Actor, *, url: str, name: str, events: Sequence[str]
    ) -> tuple[Webhook, Redacted]:
        """The webhook and its secret. Raises TargetRefusedError or TooManyWebhooksError."""
        await self._targets.check(url)
        webhook_id = uuid7()
        secret, sealed = self._secrets.make(webhook_id)
        async with self._database.transaction() as connection:
            if await count_webhooks(connection, project.project_id) >= MOST_PER_PROJECT:
                raise TooManyWebhooksError(f"A project has at most {MOST_PER_PROJECT} webhooks: delete one first.")
            webhook = await insert_webhook(
                connection,
                webhook_id=webhook_id,
                project_id=project.project_id,
                url=url,
                name=name,
                events=_distinct(events),
                sealed_secret=sealed,
            )
            await _audit(connection, project, actor, "webhook.create", webhook, after=_shown(webhook))
        return webhook, secret

    async def find(self, project: Project, webhook_id: UUID) -> Webhook:
        """Raises WebhookUnknownError."""
        webhook = await find_webhook(self._database, project.project_id, webhook_id)
        if webhook is None:
            raise WebhookUnknownError("There is no such webhook.")
        return webhook

    async def change(
        self,
        project: Project,
        actor: Actor,
        webhook_id: UUID,
        *,
        url: str | None,
        name: str | None,
        events: Sequence[str] | None,
        is_active: bool | None,
    ) -> Webhook:
        """None leaves as it is. Switched off, what waits for it is given up. Raises TargetRefusedError, WebhookUnknownError."""
        if url is not None:
            await self.find(project, webhook_id)  # nobody resolves names through a webhook that is not theirs
            await self._targets.check(url)
        async with self._database.transaction() as connection:
            before = await self._lock(connection, project, webhook_id)
            wanted = replace(
                before,
                url=before.url if url is None else url,
                name=before.name if name is None else name,
                events=before.events if events is None else _distinct(events),
                inactive_because=_inactive_because(before.inactive_because, is_active),
            )
            if wanted == before:
                return before
            changed = await update_webhook(
                connection,
                webhook_id,
                url=wanted.url,
                name=wanted.name,
                events=wanted.events,
                inactive_because=wanted.inactive_because,
                afresh=wanted.url != before.url or wanted.inactive_because != before.inactive_because,
            )
            if wanted.inactive_because is not None:
                await give_up_pending(connection, webhook_id)
            await _audit(connection, project, actor, "webhook.patch", changed, before=_shown(before), after=_shown(changed))
        return changed

    async def rotate_secret(self, project: Project, actor: Actor, webhook_id: UUID) -> tuple[Redacted, datetime]:
        """The new secret, and until when the old one signs as well. Raises WebhookUnknownError."""
        secret, sealed = self._secrets.make(webhook_id)
        until = datetime.now(UTC) + timedelta(hours=OLD_SECRET_HOURS)
        async with self._database.transaction() as connection:
            webhook = await self._lock(connection, project, webhook_id)
            await set_webhook_secret(connection, webhook_id, sealed, old_secret_until=until)
            await _audit(connection, project, actor, "webhook.rotate_secret", webhook)
        return secret, until

    async def remove(self, project: Project, actor: Actor, webhook_id: UUID) -> None:
        """With the log of its deliveries. Raises WebhookUnknownError."""
        async with self._database.transaction() as connection:
            webhook = await self._lock(connection, project, webhook_id)
            await delete_webhook(connection, webhook_id)
            await _audit(connection, project, actor, "webhook.delete", webhook, before=_shown(webhook))

    async def test(self, project: Project, webhook_id: UUID) -> Attempt:
        """Send an event of type `test` now, also to one that is switched off. It is not in the log.

        Raises WebhookUnknownError, SecretSealedError or TooManyTestsError.
        """
        webhook = await self.find(project, webhook_id)
        if self._testing[project.project_id] >= _TESTS_PER_PROJECT or self._testing.total() >= _TESTS_AT_ONCE:
            raise TooManyTestsError("Too many tests of webhooks run at the same time.")
        sent_at = datetime.now(UTC)
        body = msgspec.json.encode(EventBody(type="test", timestamp=sent_at, data={"webhook_id": str(webhook_id)})).decode()
        headers = self._secrets.sign(webhook, event_id=uuid7(), sent_at=sent_at, body=body)
        self._testing[project.project_id] += 1
        try:
            async with sender_to(self._targets) as sender:
                return await sender.send(webhook.url, body, headers)
        finally:
            self._testing[project.project_id] -= 1
            self._testing += Counter()  # forgets projects that run none

    async def _lock(self, connection: Any, project: Project, webhook_id: UUID) -> Webhook:
        webhook = await lock_webhook(connection, project.project_id, webhook_id)
        if webhook is None:
            raise WebhookUnknownError("There is no such webhook.")
        return webhook


def _inactive_because(before: str | None, is_active: bool | None) -> str | None:
    if is_active is None:
        return before
    return None if is_active else before or "switched_off"


def _distinct(events: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(events))


def _shown(webhook: Webhook) -> Mapping[str, Any]:
    """For the audit: without the query of the URL, where some targets have a secret."""
    return {
        "url": urlsplit(webhook.url)._replace(query="", fragment="").geturl(),
        "name": webhook.name,
        "events": list(webhook.events),
        "inactive_because": webhook.inactive_because,
    }


async def _audit(
    connection: Any, project: Project, actor: Actor, action: str, webhook: Webhook, **change: Mapping[str, Any]
) -> None:
    await write_audit(
        connection,
        actor,
        action,
        str(webhook.webhook_id),
        organization_id=project.organization_id,
        project_id=project.project_id,
        **change,
    )
