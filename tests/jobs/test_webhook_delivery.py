"""Events on their way to webhooks: at least once, signed, retried, and a slow target in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from controlplane.flows import send_webhooks
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.postgres_store.outbox import tell
from controlplane.wire.redacted import Redacted
from tests.databases import PatientDatabase
from tests.running_api import until
from tests.webhook_office import Office, got, holds
from tests.webhook_receiver import never, receiver, slow_header, status

DELIVERED = "SELECT count(*) FILTER (WHERE state <> 'delivered') = 0 AND count(*) > 0 FROM webhook_deliveries"
ATTEMPTED = "SELECT bool_and(attempts > 0) FROM webhook_deliveries"


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    database = PatientDatabase(database_url)
    await bootstrap(database, organization="demo", project="demo")
    async with database.connection() as connection:
        project_id = await connection.fetchval("SELECT id FROM projects")
    await database.close()
    made = Office(database_url, project_id)
    yield made
    await made.close()


async def test_an_event_arrives_once_signed_and_within_a_second(office: Office) -> None:
    async with receiver() as server:
        hook = await office.hook(server.url)
        await office.lead()
        await office.happened()
        assert await until(got(server, 1)) < 1
        await until(holds(office, DELIVERED))
        payload = server.requests[0].verified(hook.secret)
        assert payload["type"] == "credential.revoked"
        assert payload["data"] == {"number": 0, "room": "\x00 <\u2028>"}
        assert datetime.fromisoformat(str(payload["timestamp"])).tzinfo is not None
        delivery = await office.one("SELECT * FROM webhook_deliveries")
        assert (delivery["attempts"], delivery["last_status"], delivery["last_error"]) == (1, 204, None)
        assert delivery["body"] == ""  # personal data is not kept
        assert server.requests[0].headers["webhook-id"] == str(delivery["event_id"])
        assert len(server.requests) == 1


async def test_news_about_the_fleet_goes_to_every_project_and_others_stay_in_theirs(office: Office) -> None:
    other = uuid4()
    await office.rows(
        "INSERT INTO projects (id, organization_id, slug, name) SELECT $1, id, 'other', 'other' FROM organizations", other
    )
    async with receiver() as ours, receiver() as theirs:
        await office.hook(ours.url)
        await office.hook(theirs.url, project_id=other)
        async with office.database.transaction() as connection:
            await tell(connection, "region.down", {"region": "eu"}, happened_at=datetime.now(UTC), project_id=None)
            await tell(connection, "quota.reached", {}, happened_at=datetime.now(UTC), project_id=None)
        await office.happened(project_id=other)
        await office.lead()
        await until(got(theirs, 2))
        await until(got(ours, 1))
        await until(holds(office, DELIVERED))
        assert len(ours.requests) == 1
        assert len(theirs.requests) == 2
        assert (await office.one("SELECT count(*) FROM outbox"))[0] == 0


async def test_what_nobody_wants_to_hear_is_not_written_down(office: Office) -> None:
    await office.happened()
    assert await office.rows("SELECT * FROM outbox") == []


@pytest.mark.parametrize("slow", [never, slow_header], ids=["never", "slow-header"])
async def test_a_slow_target_delays_no_other(office: Office, slow: Any) -> None:
    async with receiver(slow) as stuck, receiver() as quick:
        for _ in range(3):
            await office.hook(stuck.url)
        await office.hook(quick.url)
        await office.happened(20)
        await office.lead()
        await until(got(stuck, 3))
        for number in range(1, 6):
            await office.happened()
            assert await until(got(quick, 20 + number)) < 1
        assert len(stuck.requests) <= 3 * 2  # in flight per webhook


async def test_a_failure_is_tried_again_with_the_same_id(office: Office) -> None:
    async with receiver(status(500)) as server:
        hook = await office.hook(server.url)
        await office.happened()
        await office.lead()
        await until(holds(office, ATTEMPTED))
        delivery = await office.one("SELECT *, next_attempt_at - last_attempt_at AS wait FROM webhook_deliveries")
        assert (delivery["state"], delivery["last_status"]) == ("pending", 500)
        assert delivery["last_error"] == "The target answered 500."
        assert 5 <= delivery["wait"].total_seconds() <= 6
        webhook = await office.one("SELECT * FROM webhooks")
        assert (webhook["failures"], webhook["failing_since"] is None) == (1, False)
        server.answer = status(200)
        took = await until(holds(office, DELIVERED), within_seconds=10)
        assert took > 4
        assert len(server.requests) == 2
        first, second = server.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
        second.verified(hook.secret)
        webhook = await office.one("SELECT * FROM webhooks")
        assert (webhook["failures"], webhook["failing_since"], webhook["rests_until"]) == (0, None, None)


async def test_a_target_that_fails_rests_with_all_its_events(office: Office) -> None:
    async with receiver(status(503, retry_after="3600")) as server:
        await office.hook(server.url)
        await office.happened(10)
        await office.lead()
        await until(holds(office, "SELECT rests_until > now() + interval '3500 seconds' FROM webhooks"))
        await until(holds(office, "SELECT count(*) FILTER (WHERE next_attempt_at <= now()) >= 8 FROM webhook_deliveries"))
        assert len(server.requests) <= 2
        waits = await office.rows(
            "SELECT next_attempt_at > now() + interval '3500 seconds' FROM webhook_deliveries WHERE attempts = 1"
        )
        assert all(row[0] for row in waits)


async def test_gone_switches_the_webhook_off(office: Office) -> None:
    async with receiver(status(410)) as server:
        await office.hook(server.url)
        await office.happened(5)
        await office.lead()
        await until(holds(office, "SELECT inactive_because = 'gone' FROM webhooks"))
        await until(holds(office, "SELECT bool_and(state = 'given_up' AND body = '') FROM webhook_deliveries"))
        await office.happened()
        assert await office.rows("SELECT * FROM outbox") == []
    audit = await office.one("SELECT * FROM audit WHERE action = 'webhook.switch_off'")
    assert audit["actor_kind"] == "system"
    assert audit["organization_id"] == (await office.one("SELECT organization_id FROM projects"))["organization_id"]


async def test_the_last_attempt_gives_up_and_days_of_failing_switch_off(office: Office) -> None:
    async with receiver(status(500)) as server:
        await office.hook(server.url)
        await office.happened(2)
        office.secrets, kept = None, office.secrets
        await (await office.take_over()).tick()  # events become deliveries, and nothing is sent
        office.secrets = kept
        await office.rows("UPDATE webhook_deliveries SET attempts = 9")
        await office.lead()
        await until(holds(office, "SELECT bool_or(state = 'given_up') FROM webhook_deliveries"))
        assert (await office.one("SELECT inactive_because FROM webhooks"))[0] is None
        await office.rows("UPDATE webhooks SET failing_since = now() - interval '6 days', rests_until = NULL")
        await office.happened()
        await until(holds(office, "SELECT coalesce(inactive_because = 'failing', false) FROM webhooks"))


async def test_what_a_dead_leader_had_in_hand_is_sent_when_its_lease_ends(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_webhooks, "LEASE_SECONDS", 1.5)
    async with receiver(never) as server:
        await office.hook(server.url)
        await office.happened()
        await office.lead()
        await until(got(server, 1))
        await office.stop()  # the courier is cut off: nothing is written
        server.answer = status(200)
        await office.lead()
        took = await until(holds(office, DELIVERED), within_seconds=10)
        assert 0.5 < took < 4
        assert server.requests[0].headers["webhook-id"] == server.requests[1].headers["webhook-id"]


async def test_an_ex_leader_writes_nothing(office: Office) -> None:
    proceed = asyncio.Event()

    async def waits(received: Any, writer: asyncio.StreamWriter) -> None:
        await proceed.wait()
        await status(410)(received, writer)

    async with receiver(waits) as server:
        await office.hook(server.url)
        await office.happened()
        old = await office.take_over()
        await old.tick()
        await until(got(server, 1))
        await office.take_over()
        proceed.set()

        async def ended() -> bool:
            return not old._couriers

        await until(ended)
        await office.happened()
        await old.tick()
        await old.tidy()
        assert (await office.one("SELECT count(*) FROM outbox"))[0] == 1
        delivery = await office.one("SELECT * FROM webhook_deliveries")
        assert (delivery["state"], delivery["attempts"]) == ("pending", 0)
        assert (await office.one("SELECT inactive_because FROM webhooks"))[0] is None


async def test_a_secret_of_another_master_key_is_told_in_words(office: Office) -> None:
    async with receiver() as server:
        await office.hook(server.url)
        office.secrets = WebhookSecrets(MasterKeys(Redacted("B" * 43 + "=")))
        await office.happened()
        await office.lead()
        await until(holds(office, ATTEMPTED))
        assert "another master key" in (await office.one("SELECT last_error FROM webhook_deliveries"))[0]
        assert server.connections == 0


async def test_what_waits_and_what_is_remembered_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_webhooks, "PENDING_KEPT", 10)
    monkeypatch.setattr(send_webhooks, "ENDED_KEPT", 25)
    hook = await office.hook("http://127.0.0.1:1/")
    fill = (
        "INSERT INTO webhook_deliveries (webhook_id, event_id, type, body, state, created_at)"
        " SELECT $1, gen_random_uuid(), 't', 'b', $2, now() - n * $3::text::interval FROM generate_series(1, $4::int) AS n"
    )
    sender = await office.take_over()
    await office.rows(fill, hook.webhook_id, "pending", "1 second", 15)
    await sender.tidy()
    states = await office.rows("SELECT state, last_error FROM webhook_deliveries ORDER BY created_at")
    assert [row["state"] for row in states] == ["given_up"] * 5 + ["pending"] * 10
    assert states[0]["last_error"] == "Dropped: more than 10 deliveries waited, and this was the oldest."
    assert office.metrics.registry.get_sample_value("turnfleet_webhook_deliveries_total", {"outcome": "dropped"}) == 5
    await office.rows("DELETE FROM webhook_deliveries")
    await office.rows(fill, hook.webhook_id, "delivered", "2 days", 20)
    await office.rows(fill, hook.webhook_id, "pending", "40 days", 1)
    await sender.tidy()
    assert (await office.one("SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'"))[0] == 14
    assert (await office.one("SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'"))[0] == 1
    await office.rows(fill, hook.webhook_id, "given_up", "1 second", 30)
    await sender.tidy()
    assert (await office.one("SELECT count(*) FROM webhook_deliveries WHERE state <> 'pending'"))[0] == 26


async def test_many_events_go_over_few_connections(office: Office) -> None:
    async with receiver() as server:
        await office.hook(server.url)
        await office.happened(300)
        await office.lead()
        await until(got(server, 300))
        await until(holds(office, DELIVERED))
        assert len({each.headers["webhook-id"] for each in server.requests}) == 300
        assert server.connections <= 2 * 8
