"""Counting: every byte once, for whom it belongs to, whatever is killed between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest_asyncio

from controlplane.fleet.allocation import Allocation
from controlplane.flows.fold_usage import UsageFolder
from controlplane.flows.record_usage import record_usage
from controlplane.postgres_store.credentials import insert_credentials
from tests.usage_records import UsageBench, make_allocation

_SUBJECT = (
    "SELECT first_seen_at, last_seen_at, credentials, allocations, bytes_from_client FROM subjects"
    " WHERE project_id = $1 AND kind = $2 AND key = $3"
)


@pytest_asyncio.fixture(loop_scope="session")
async def bench(database_url: str) -> AsyncIterator[UsageBench]:
    bench = UsageBench(database_url)
    yield bench
    await bench.database.close()


async def report(bench: UsageBench, *allocations: Allocation) -> None:
    now = datetime.now(UTC)
    await record_usage(bench.database, bench.node, allocations, ask=(), now=now, addresses_from=now - timedelta(days=30))


async def test_differences_are_added_once_in_every_dimension(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    told = make_allocation(issue.credential_id)
    await report(bench, told)
    await bench.folder.fold()
    await bench.folder.fold()
    await report(bench, replace(told, revision=2, bytes_from_client=4000, bytes_to_client=500))
    await bench.folder.fold()
    named = [("project", ""), ("room", "standup"), ("client", "ann"), ("client", "ben"), ("region", "eu-central")]
    for dimension, key in [*named, ("node", bench.node.node_id)]:
        for bucket in ("hour", "day"):
            assert (await bench.usage(dimension, key, bucket))[1:] == (1, 4000, 500), (dimension, key, bucket)
    assert (await bench.usage("project", ""))[0] == 1
    assert await bench.rows("SELECT FROM usage_deltas") == []


async def test_a_client_that_calls_itself_is_counted_once(bench: UsageBench) -> None:
    issue = bench.issue(receiver_client="ann", room=None)
    await insert_credentials(bench.database, [issue])
    await report(bench, make_allocation(issue.credential_id))
    await bench.folder.fold()
    assert await bench.usage("client", "ann") == (1, 1, 1000, 500)
    assert await bench.rows("SELECT FROM usage WHERE dimension = 'room'") == []


async def test_rooms_and_clients_are_seen_to_the_second(bench: UsageBench) -> None:
    first, later = bench.issue(issued_at=datetime.now(UTC) - timedelta(seconds=3)), bench.issue(initiator_client="cleo")
    await insert_credentials(bench.database, [first, later])
    await bench.folder.fold()
    (room,) = await bench.rows(_SUBJECT, bench.project_id, "room", "standup")
    assert (room["first_seen_at"], room["last_seen_at"], room["credentials"]) == (first.issued_at, later.issued_at, 2)
    ended = later.issued_at + timedelta(milliseconds=5)
    await report(bench, make_allocation(first.credential_id, started_at=first.issued_at.replace(microsecond=0), ended_at=ended))
    await bench.folder.fold()
    (room,) = await bench.rows(_SUBJECT, bench.project_id, "room", "standup")
    assert (room["last_seen_at"], room["allocations"], room["bytes_from_client"]) == (ended, 1, 1000)


async def test_minutes_are_the_time_it_lived(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    told = make_allocation(issue.credential_id)
    await report(bench, replace(told, revision=2, ended_at=told.started_at + timedelta(seconds=7.5), end_reason="timeout"))
    await bench.folder.fold()
    rows = await bench.rows("SELECT seconds FROM usage WHERE dimension = 'project'")
    assert [row["seconds"] for row in rows] == [7.5, 7.5]


async def test_a_record_that_comes_after_its_allocation_is_matched_then(bench: UsageBench) -> None:
    issue = bench.issue()
    await report(bench, make_allocation(issue.credential_id))
    await bench.folder.fold()
    assert (await bench.usage("project", ""))[1] == 0
    await insert_credentials(bench.database, [issue])
    await bench.rows("UPDATE allocations SET match_at = now()")
    await bench.folder.fold()
    assert await bench.usage("room", "standup") == (1, 1, 1000, 500)


async def test_a_credential_of_another_node_is_never_counted_and_told_once(bench: UsageBench) -> None:
    issue = bench.issue(node_ids=(str(uuid4()),))
    await insert_credentials(bench.database, [issue])
    told = make_allocation(issue.credential_id)
    for revision in (1, 2, 3):
        await report(bench, replace(told, revision=revision, bytes_from_client=1000 * revision))
        await bench.folder.fold()
    assert (await bench.usage("project", ""))[1:] == (0, 0, 0)
    (row,) = await bench.rows("SELECT matched, project_id, client_address FROM allocations")
    assert tuple(row) == ("foreign", None, None)
    (event,) = await bench.rows("SELECT reason, detail FROM fleet_events WHERE kind = 'usage.foreign'")
    assert event["reason"] == "other_node"
    assert str(issue.credential_id) in event["detail"]


async def test_after_two_days_a_record_is_no_longer_waited_for(bench: UsageBench) -> None:
    issue = bench.issue()
    await report(bench, make_allocation(issue.credential_id))
    await bench.rows("UPDATE allocations SET first_reported_at = now() - interval '2 days'")
    await bench.folder.fold()
    assert [row["matched"] for row in await bench.rows("SELECT matched FROM allocations")] == ["foreign"]
    assert [row["reason"] for row in await bench.rows("SELECT reason FROM fleet_events")] == ["record_missing"]


async def test_a_term_that_is_over_counts_nothing(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    await report(bench, make_allocation(issue.credential_id))
    epoch = await bench.new_term()
    assert await bench.folder.fold() == 0
    assert await bench.usage("project", "") == (0, 0, 0, 0)
    assert await UsageFolder(bench.database, bench.metrics, epoch=epoch).fold() == 1
    assert await bench.usage("project", "") == (1, 1, 1000, 500)


async def test_a_node_that_reports_nonsense_stops_nobody(bench: UsageBench) -> None:
    issue, other = bench.issue(), bench.issue(room="other")
    await insert_credentials(bench.database, [issue, other])
    absurd = [make_allocation(issue.credential_id, session_id=str(n), bytes_from_client=2**53) for n in range(1500)]
    await report(bench, *absurd)
    await bench.folder.fold()
    await report(bench, make_allocation(other.credential_id))
    await bench.folder.fold()
    assert (await bench.usage("room", "other"))[1:] == (1, 1000, 500)
    assert (await bench.usage("room", "standup"))[2] == 2**63 - 1


async def test_webhooks_hear_of_a_begin_and_of_an_end_once(bench: UsageBench) -> None:
    await bench.make_project()
    await bench.rows(
        "INSERT INTO webhooks (id, project_id, url, events, sealed_secret) VALUES ($1, $2, 'https://a.example', $3, '')",
        uuid4(),
        bench.project_id,
        ["allocation.started", "allocation.ended"],
    )
    issue = bench.issue()
    told = make_allocation(issue.credential_id)
    await report(bench, told)
    await bench.folder.fold()
    assert await bench.rows("SELECT type FROM outbox") == []
    await insert_credentials(bench.database, [issue])
    await bench.rows("UPDATE allocations SET match_at = now()")
    await bench.folder.fold()
    assert [row["type"] for row in await bench.rows("SELECT type FROM outbox")] == ["allocation.started"]
    for revision in (2, 3):
        await report(bench, replace(told, revision=revision, ended_at=datetime.now(UTC), bytes_from_client=2000))
        await bench.folder.fold()
    rows = await bench.rows("SELECT type, project_id, body FROM outbox ORDER BY id")
    assert [row["type"] for row in rows] == ["allocation.started", "allocation.ended"]
    assert {row["project_id"] for row in rows} == {bench.project_id}
    assert '"bytes_from_client":2000' in rows[1]["body"]
    assert "198.51.100.77" not in rows[0]["body"] + rows[1]["body"]


async def test_every_byte_once_while_reports_and_folds_are_cut_off_at_random(bench: UsageBench) -> None:
    generator = random.Random(3)
    issues = [bench.issue(room=f"room-{number % 3}") for number in range(20)]
    totals = {issue.credential_id: (0, 0) for issue in issues}
    told = {issue.credential_id: make_allocation(issue.credential_id, session_id=str(n)) for n, issue in enumerate(issues)}
    folder = bench.folder
    for revision in range(1, 40):
        changed = []
        for key in generator.sample(list(told), 8):
            up, down = totals[key]
            totals[key] = (up + generator.randint(0, 5000), down + generator.randint(0, 5000))
            told[key] = replace(told[key], revision=revision, bytes_from_client=totals[key][0], bytes_to_client=totals[key][1])
            changed.append(told[key])
        work = [asyncio.create_task(report(bench, *changed)), asyncio.create_task(folder.fold())]
        work.append(asyncio.create_task(insert_credentials(bench.database, issues[:revision])))  # type: ignore[arg-type]
        await asyncio.wait(work, timeout=generator.uniform(0, 0.02))
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if generator.random() < 0.2:
            folder = UsageFolder(bench.database, bench.metrics, epoch=await bench.new_term())
    await insert_credentials(bench.database, issues)
    live = {key: each for key, each in told.items() if totals[key] != (0, 0)}
    await report(bench, *live.values())
    await bench.rows("UPDATE allocations SET match_at = now()")
    await folder.fold()
    expected = (len(issues), len(live), sum(up for up, _ in totals.values()), sum(down for _, down in totals.values()))
    assert await bench.usage("project", "") == expected
    (row,) = await bench.rows(
        "SELECT sum(bytes_from_client)::bigint AS f, sum(allocations)::bigint AS a FROM subjects WHERE kind = 'room'"
    )
    assert (row["a"], row["f"]) == expected[1:3]
