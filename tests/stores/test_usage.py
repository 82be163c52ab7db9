"""Reports of allocations in a real PostgreSQL: stored once, whatever comes twice, late or in the wrong order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest_asyncio

from controlplane.fleet.allocation import Allocation
from controlplane.flows.record_usage import Recorded, record_usage
from controlplane.postgres_store.credentials import insert_credentials
from tests.usage_records import UsageBench, make_allocation


@pytest_asyncio.fixture(loop_scope="session")
async def bench(database_url: str) -> AsyncIterator[UsageBench]:
    bench = UsageBench(database_url)
    yield bench
    await bench.database.close()


async def report(bench: UsageBench, *allocations: Allocation, ask: tuple[UUID, ...] = ()) -> Recorded:
    now = datetime.now(UTC)
    return await record_usage(bench.database, bench.node, allocations, ask=ask, now=now, addresses_from=now - timedelta(days=9))


async def test_a_report_that_comes_twice_is_one_row(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    told = make_allocation(issue.credential_id)
    assert (await report(bench, told)).taken == 1
    again = await report(bench, told)
    assert (again.taken, again.stale) == (0, 1)
    (row,) = await bench.rows("SELECT * FROM allocations")
    assert (row["matched"], row["project_id"], row["room"], row["node_id"]) == (
        "matched",
        bench.project_id,
        "standup",
        UUID(bench.node.node_id),
    )
    assert row["id"].int >> 80 == int(told.started_at.timestamp() * 1000)
    assert row["id"].version == 8


async def test_a_lower_revision_changes_nothing_and_totals_never_fall(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    told = make_allocation(issue.credential_id, revision=5, bytes_from_client=5000, ended_at=datetime.now(UTC), end_reason="x")
    await report(bench, told)
    assert (await report(bench, replace(told, revision=4, bytes_from_client=9000, ended_at=None))).taken == 0
    assert (await report(bench, replace(told, revision=6, bytes_from_client=10, bytes_to_client=600))).taken == 1
    (row,) = await bench.rows("SELECT * FROM allocations")
    assert (row["bytes_from_client"], row["bytes_to_client"], row["revision"]) == (5000, 600, 6)
    assert (row["ended_at"], row["end_reason"]) == (told.ended_at, "x")


async def test_a_client_that_allocates_anew_in_its_session_lives_again(bench: UsageBench) -> None:
    told = make_allocation(bench.issue().credential_id, ended_at=datetime.now(UTC), end_reason="client")
    await report(bench, told)
    await report(bench, replace(told, revision=2, ended_at=None, end_reason=None))
    (row,) = await bench.rows("SELECT ended_at, end_reason FROM allocations")
    assert tuple(row) == (None, None)


async def test_of_one_allocation_twice_in_a_report_the_newest_counts(bench: UsageBench) -> None:
    told = make_allocation(bench.issue().credential_id)
    middle, newest = replace(told, revision=2, bytes_from_client=2), replace(told, revision=3, bytes_from_client=3)
    assert (await report(bench, middle, newest, told)).stale == 2
    assert [row["bytes_from_client"] for row in await bench.rows("SELECT * FROM allocations")] == [3]


async def test_the_same_session_of_another_boot_or_node_is_another_allocation(bench: UsageBench) -> None:
    told = make_allocation(bench.issue().credential_id)
    await report(bench, told, replace(told, coturn_boot_id="coturn-boot-2"), replace(told, session_id="2"))
    bench.node = replace(bench.node, node_id=str(uuid4()))
    await report(bench, told)
    assert len(await bench.rows("SELECT FROM allocations")) == 4


async def test_what_cannot_be_in_time_is_left_out_and_the_rest_is_stored(bench: UsageBench) -> None:
    told = make_allocation(bench.issue().credential_id)
    now = datetime.now(UTC)
    late, early = now + timedelta(hours=1), now - timedelta(days=40)
    recorded = await report(bench, replace(told, started_at=late), told, replace(told, started_at=early))
    assert (recorded.taken, recorded.out_of_time) == (1, 2)
    assert len(await bench.rows("SELECT FROM allocations")) == 1


async def test_an_id_that_the_control_plane_never_makes_is_nobodys(bench: UsageBench) -> None:
    assert (await report(bench, make_allocation(uuid4()))).not_ours == 1
    assert await bench.rows("SELECT FROM allocations") == []


async def test_addresses_are_kept_as_the_project_wants_and_never_before_it_is_known(bench: UsageBench) -> None:
    kept = {}
    for policy in ("keep", "truncate", "drop"):
        await bench.make_project(client_address_policy=policy)
        issue = bench.issue()
        told = make_allocation(issue.credential_id, session_id="7")
        await report(bench, told)
        (row,) = await bench.rows("SELECT matched, client_address FROM allocations WHERE credential_id = $1", issue.credential_id)
        assert (row["matched"], row["client_address"]) == ("pending", None)
        await insert_credentials(bench.database, [issue])
        await bench.folder.fold()
        await report(bench, replace(told, revision=2))
        (row,) = await bench.rows(
            "SELECT matched, host(client_address) AS address FROM allocations WHERE credential_id = $1", issue.credential_id
        )
        assert row["matched"] == "matched"
        kept[policy] = row["address"]
    assert kept == {"keep": "198.51.100.77", "truncate": "198.51.100.0", "drop": None}


async def test_an_address_that_retention_took_does_not_come_back_with_the_next_report(bench: UsageBench) -> None:
    await bench.make_project(client_address_policy="keep")
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    for session, days in (("1", 8), ("2", 10)):
        told = make_allocation(issue.credential_id, session_id=session)
        told = replace(told, started_at=told.started_at - timedelta(days=days))
        await report(bench, told)
        await bench.rows("UPDATE allocations SET client_address = NULL WHERE session_id = $1", session)
        await report(bench, replace(told, revision=2, bytes_from_client=9000))
    rows = await bench.rows("SELECT host(client_address), bytes_from_client FROM allocations ORDER BY session_id")
    assert [tuple(row) for row in rows] == [("198.51.100.77", 9000), (None, 9000)]


async def test_rules_are_told_of_credentials_of_this_node_alone(bench: UsageBench) -> None:
    await bench.make_project(end_at_expiry=True, credential_max_allocations=3, credential_max_bits_per_second=64_000)
    mine, asked, others = bench.issue(), bench.issue(), bench.issue(node_ids=(str(uuid4()),))
    await insert_credentials(bench.database, [mine, asked, others])
    recorded = await report(
        bench, make_allocation(mine.credential_id), ask=(asked.credential_id, others.credential_id, bench.issue().credential_id)
    )
    assert {each.credential_id for each in recorded.rules} == {mine.credential_id, asked.credential_id}
    assert {(each.end_at_expiry, each.max_allocations, each.max_bits_per_second) for each in recorded.rules} == {(True, 3, 64_000)}


async def test_many_reports_of_the_same_allocations_at_once_do_not_block_each_other(bench: UsageBench) -> None:
    issue = bench.issue()
    await insert_credentials(bench.database, [issue])
    told = [make_allocation(issue.credential_id, session_id=str(number)) for number in range(200)]

    async def send(seed: int) -> int:
        generator = random.Random(seed)
        shuffled = [replace(each, revision=generator.randint(1, 50)) for each in told]
        generator.shuffle(shuffled)
        return (await report(bench, *shuffled)).taken

    await asyncio.gather(*(send(seed) for seed in range(4)), bench.folder.fold())
    assert len(await bench.rows("SELECT FROM allocations")) == 200
