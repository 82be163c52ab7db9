"""After a change of the master key the secrets of webhooks are sealed with the new one, and sign as before."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest_asyncio

from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.keep_master_keys import WebhookSealer
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.postgres_store.database import queries
from controlplane.postgres_store.webhooks import insert_webhook, lock_webhook, set_webhook_secret
from controlplane.wire.redacted import Redacted
from tests.databases import PatientDatabase

OLD, NEW = (Redacted(base64.b64encode(bytes([number]) * 32).decode()) for number in (1, 2))


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[PatientDatabase]:
    made = PatientDatabase(database_url)
    await bootstrap(made, organization="demo", project="demo")
    yield made
    await made.close()


async def test_both_secrets_of_a_webhook_are_sealed_again(database: PatientDatabase) -> None:
    webhook_id, at = uuid4(), datetime.now(UTC)
    old = WebhookSecrets(MasterKeys(OLD))
    async with database.transaction() as connection:
        project_id = await connection.fetchval("SELECT id FROM projects")
        epoch = int(await queries.take_leadership(connection))
        await insert_webhook(
            connection,
            webhook_id=webhook_id,
            project_id=project_id,
            url="https://example.org/",
            name="",
            events=["test"],
            sealed_secret=old.make(webhook_id)[1],
        )
        await set_webhook_secret(connection, webhook_id, old.make(webhook_id)[1], old_secret_until=at + timedelta(hours=1))
        before = await lock_webhook(connection, project_id, webhook_id)
    assert before is not None
    signed = old.sign(before, event_id=webhook_id, sent_at=at, body="{}")
    both = MasterKeys(NEW, OLD)
    await WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch - 1).seal()
    assert await sealed_with(database) == {MasterKeys(OLD).current}, "a term that is over changes nothing"
    await WebhookSealer(database, None, None, epoch=epoch).seal()
    await WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch).seal()
    assert await sealed_with(database) == {both.current}
    async with database.transaction() as connection:
        after = await lock_webhook(connection, project_id, webhook_id)
    assert after is not None
    new = WebhookSecrets(MasterKeys(NEW))
    assert new.sign(after, event_id=webhook_id, sent_at=at, body="{}") == signed
    # One that cannot be opened is in nobody's way.
    async with database.connection() as connection:
        await connection.execute("UPDATE webhooks SET sealed_secret = '\\x00000000'")
    await WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch).seal()


async def sealed_with(database: PatientDatabase) -> set[str]:
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT sealed_secret, sealed_old_secret FROM webhooks")
    return {row[0][:4].hex(), row[1][:4].hex()}
