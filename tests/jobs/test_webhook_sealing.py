"""After a change of the master key the secrets of webhooks are sealed with the new one, and sign as before."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio

from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.keep_master_keys import WebhookSealer
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.postgres_store.database import queries
from controlplane.postgres_store.master_keys import seal_webhooks_again
from controlplane.postgres_store.webhooks import Webhook, insert_webhook, lock_webhook, set_webhook_secret
from controlplane.wire.redacted import Redacted
from tests.databases import PatientDatabase

OLD, NEW = (Redacted(base64.b64encode(bytes([number]) * 32).decode()) for number in (1, 2))


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[PatientDatabase]:
    made = PatientDatabase(database_url)
    await bootstrap(made, organization="demo", project="demo")
    yield made
    await made.close()


async def make_webhook(connection: Any, secrets: WebhookSecrets) -> UUID:
    """With an old secret beside its own."""
    webhook_id = uuid4()
    project_id = await connection.fetchval("SELECT id FROM projects")
    await insert_webhook(
        connection,
        webhook_id=webhook_id,
        project_id=project_id,
        url="https://example.org/",
        name="",
        events=["test"],
        sealed_secret=secrets.make(webhook_id)[1],
    )
    until = datetime.now(UTC) + timedelta(hours=1)
    await set_webhook_secret(connection, webhook_id, secrets.make(webhook_id)[1], old_secret_until=until)
    return webhook_id


async def read(connection: Any, webhook_id: UUID) -> Webhook:
    found = await lock_webhook(connection, await connection.fetchval("SELECT project_id FROM webhooks"), webhook_id)
    assert found is not None
    return found


async def test_both_secrets_of_a_webhook_are_sealed_again(database: PatientDatabase) -> None:
    at, old = datetime.now(UTC), WebhookSecrets(MasterKeys(OLD))
    async with database.transaction() as connection:
        epoch = int(await queries.take_leadership(connection))
        webhook_id = await make_webhook(connection, old)
        before = await read(connection, webhook_id)
    signed = old.sign(before, event_id=webhook_id, sent_at=at, body="{}")
    both = MasterKeys(NEW, OLD)
    await WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch - 1).seal()
    assert await sealed_with(database) == {MasterKeys(OLD).current}, "a term that is over changes nothing"
    await WebhookSealer(database, None, None, epoch=epoch).seal()
    await WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch).seal()
    assert await sealed_with(database) == {both.current}
    async with database.transaction() as connection:
        after = await read(connection, webhook_id)
    new = WebhookSecrets(MasterKeys(NEW))
    assert new.sign(after, event_id=webhook_id, sent_at=at, body="{}") == signed


async def test_secrets_that_do_not_open_hold_up_nobody(database: PatientDatabase) -> None:
    both = MasterKeys(NEW, OLD)
    async with database.transaction() as connection:
        epoch = int(await queries.take_leadership(connection))
        broken, half, good = [await make_webhook(connection, WebhookSecrets(MasterKeys(OLD))) for _ in range(3)]
        nonsense = bytes.fromhex(MasterKeys(OLD).current) + b"nonsense"
        await connection.execute("UPDATE webhooks SET sealed_secret = $2, sealed_old_secret = $2 WHERE id = $1", broken, nonsense)
        await connection.execute("UPDATE webhooks SET sealed_old_secret = $2 WHERE id = $1", half, nonsense)
    sealer = WebhookSealer(database, both, WebhookSecrets(both), epoch=epoch)
    await sealer.seal()
    async with database.transaction() as connection:
        found = {each: await read(connection, each) for each in (broken, half, good)}
    await sealer.seal()
    async with database.transaction() as connection:
        assert found == {each: await read(connection, each) for each in found}, "what is done is not done again"
    assert (found[broken].sealed_secret, found[half].sealed_old_secret) == (nonsense, nonsense)
    assert {found[each].sealed_secret[:4].hex() for each in (half, good)} == {both.current}


async def sealed_with(database: PatientDatabase) -> set[str]:
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT sealed_secret, sealed_old_secret FROM webhooks")
    return {row[0][:4].hex(), row[1][:4].hex()}


async def test_they_are_sealed_page_by_page(database: PatientDatabase) -> None:
    both = MasterKeys(NEW, OLD)
    async with database.transaction() as connection:
        epoch = int(await queries.take_leadership(connection))
        made = [await make_webhook(connection, WebhookSecrets(MasterKeys(OLD))) for _ in range(5)]
    after: UUID | None = UUID(int=0)
    pages = []
    while after is not None:
        some = await seal_webhooks_again(
            database, WebhookSecrets(both).seal_again, key_id=both.in_use, known=both.known, after=after, epoch=epoch, most=2
        )
        pages.append(some.webhooks)
        after = some.next_after
    assert pages == [2, 2, 1]
    async with database.transaction() as connection:
        assert {(await read(connection, each)).sealed_secret[:4].hex() for each in made} == {both.in_use}
