"""A database with one project, and the sending of webhooks in this process, term by term."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from uuid import UUID, uuid4

import asyncpg

from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.send_webhooks import WebhookSender
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.flows.webhook_target import Targets
from controlplane.postgres_store.database import queries
from controlplane.postgres_store.outbox import tell
from controlplane.postgres_store.webhooks import insert_webhook
from controlplane.telemetry.metrics import Metrics
from controlplane.wire.redacted import Redacted
from tests.databases import PatientDatabase
from tests.running_api import MASTER_KEY
from tests.webhook_receiver import Receiver

EVENTS = ["credential.revoked", "region.down", "region.up", "node.down"]


@dataclass(kw_only=True)
class Hook:
    webhook_id: UUID
    secret: str


class Office:
    """A database with one project, and the sending of one leader's term that runs in this process."""

    def __init__(self, url: str, project_id: UUID) -> None:
        self.database = PatientDatabase(url)
        self.project_id = project_id
        self.secrets: WebhookSecrets | None = WebhookSecrets(MasterKeys(Redacted(MASTER_KEY)))
        self.targets = Targets([ip_network("127.0.0.0/8")])
        self.metrics = Metrics()
        self.sender: WebhookSender | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def take_over(self) -> WebhookSender:
        """A new term. Its sender does nothing before it is ticked."""
        async with self.database.connection() as connection:
            epoch = int(await queries.take_leadership(connection))
        self.sender = WebhookSender(self.database, self.targets, self.secrets, self.metrics, epoch=epoch)
        return self.sender

    async def lead(self) -> None:
        """A new term that sends until `stop`."""
        sender = await self.take_over()

        async def tick() -> None:
            while True:
                await sender.tick()
                await asyncio.sleep(0.1)

        self._ticking = asyncio.create_task(tick())

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
            self._ticking = None
        if self.sender is not None:
            await self.sender.end()

    async def close(self) -> None:
        await self.stop()
        self.targets.close()
        await self.database.close()

    async def hook(self, url: str, project_id: UUID | None = None) -> Hook:
        webhook_id = uuid4()
        assert self.secrets is not None
        secret, sealed = self.secrets.make(webhook_id)
        async with self.database.connection() as connection:
            await insert_webhook(
                connection,
                webhook_id=webhook_id,
                project_id=project_id or self.project_id,
                url=url,
                name="",
                events=EVENTS,
                sealed_secret=sealed,
            )
        return Hook(webhook_id=webhook_id, secret=secret.reveal())

    async def happened(self, count: int = 1, *, project_id: UUID | None = None) -> None:
        async with self.database.transaction() as connection:
            for number in range(count):
                await tell(
                    connection,
                    "credential.revoked",
                    {"number": number, "room": "\x00 <\u2028>"},
                    happened_at=datetime.now(UTC),
                    project_id=project_id or self.project_id,
                )

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    async def one(self, query: str, *arguments: object) -> asyncpg.Record:
        found = await self.rows(query, *arguments)
        assert len(found) == 1, found
        return found[0]


def got(server: Receiver, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return len(server.requests) >= count

    return enough


def holds(office: Office, query: str) -> Callable[[], Awaitable[bool]]:
    async def held() -> bool:
        return bool((await office.one(query))[0])

    return held
