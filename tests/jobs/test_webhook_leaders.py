"""Webhooks through the real processes: what the leader tells of the fleet, and what becomes of a delivery when it dies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from controlplane.postgres_store.outbox import tell
from tests.databases import PatientDatabase
from tests.running_api import RunningApi, SimulatedNode, running_api, until
from tests.running_jobs import jobs_process
from tests.webhook_office import EVENTS, got
from tests.webhook_receiver import Receiver, never, receiver, status


@asynccontextmanager
async def hooked(api: RunningApi, server: Receiver) -> AsyncIterator[dict[str, Any]]:
    answer = await api.client.post(
        "/api/v1/webhooks", headers=api.bearer("organization"), json={"url": server.url, "events": EVENTS}
    )
    assert answer.status_code == 201, answer.text
    yield dict(answer.json())


async def test_a_region_that_goes_down_and_comes_back_is_told_once_also_over_a_change_of_leader(
    database_url: str, redis_url: str, folder: Path
) -> None:
    async with (
        receiver() as server,
        running_api(database_url, redis_url, folder, TURNFLEET_WEBHOOK_PRIVATE_TARGETS="127.0.0.1") as api,
        hooked(api, server) as webhook,
    ):
        await api.put_region("eu-central")
        await api.put_region("us-east", 39.04, -77.49, "US")
        node = SimulatedNode(api, "eu-1", "eu-central")

        def told() -> list[tuple[object, ...]]:
            payloads = [each.verified(webhook["secret"]) for each in server.requests]
            return sorted((str(payload["type"]), payload["data"]["region"]) for payload in payloads)  # type: ignore[index]

        async with jobs_process(api) as one:
            await until(one.leads, within_seconds=30)
            await node.bring_up()
            node.keep_beating()
            connection = await asyncpg.connect(database_url)

            async def is_up() -> bool:
                return bool(
                    await connection.fetchval(
                        "SELECT true FROM fleet_events WHERE kind = 'region.state' AND region = 'eu-central' AND became = 'up'"
                    )
                )

            await until(is_up, within_seconds=20)
            await connection.close()
            node.changes = {"coturn": {"state": "dead"}}
            await until(got(server, 2), within_seconds=20, what="region.down and node.down")
            assert told() == [("node.down", "eu-central"), ("region.down", "eu-central")]
            one.process.kill()
            await one.process.wait()
        async with jobs_process(api) as two:
            await until(two.leads, within_seconds=30)
            node.changes = {}
            await until(got(server, 3), within_seconds=40, what="region.up")
            assert told() == [("node.down", "eu-central"), ("region.down", "eu-central"), ("region.up", "eu-central")]
            await node.stop_beating()
        assert two.process.returncode == 0


async def test_without_the_master_key_the_jobs_say_that_webhooks_are_not_sent(
    database_url: str, redis_url: str, folder: Path
) -> None:
    async with running_api(database_url, redis_url, folder) as api:
        del api.environment["TURNFLEET_MASTER_KEY"]
        async with jobs_process(api) as one:
            await until(one.leads, within_seconds=30)
            assert "webhooks_not_sent" in api.log_file.read_text()


@pytest.mark.full
async def test_a_leader_killed_with_a_delivery_in_hand_is_followed_by_one_that_sends_it(
    database_url: str, redis_url: str, folder: Path
) -> None:
    async with (
        receiver(never) as server,
        running_api(database_url, redis_url, folder, TURNFLEET_WEBHOOK_PRIVATE_TARGETS="127.0.0.1") as api,
        hooked(api, server) as webhook,
        jobs_process(api) as one,
    ):
        await until(one.leads, within_seconds=30)
        database = PatientDatabase(database_url)
        async with database.transaction() as connection:
            await tell(connection, "node.down", {"n": 1}, happened_at=datetime.now(UTC), project_id=None)
        await database.close()
        await until(got(server, 1))
        server.answer = status(200)
        one.process.kill()
        async with jobs_process(api):
            await until(got(server, 2), within_seconds=60)
        for each in server.requests:
            each.verified(webhook["secret"])
        assert server.requests[0].headers["webhook-id"] == server.requests[1].headers["webhook-id"]
