"""The record of issues as it is inserted: counted once, and never slipping past a revocation. In a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from controlplane.fleet.issue import Issue
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.denials import Denials
from controlplane.flows.revoke import Revoker
from controlplane.postgres_store.audit import Actor
from controlplane.postgres_store.credentials import insert_credentials
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.directory import put_region
from controlplane.postgres_store.revocation import Key, deny
from controlplane.postgres_store.tenants import all_projects
from tests.builders import AT, make_issue, make_region
from tests.databases import PatientDatabase
from tests.running_api import until

ACTOR = Actor(token_id="token-1", kind="project", address="192.0.2.1", request_id="request-1")
NODE = UUID(int=5)


class Store:
    """A database with one node, one project, and what the tests look at."""

    def __init__(self, url: str, database: Database) -> None:
        self.url, self.database = url, database
        self.project: Any = None

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(query, *arguments))

    def issue(self, **fields: Any) -> Issue:
        now = datetime.now(UTC)
        defaults = {"issued_at": now, "credential_id": uuid7(), "expires_at": now + timedelta(minutes=5)}
        return make_issue(**{**defaults, "project_id": self.project.project_id, "node_ids": (str(NODE),), **fields})

    async def insert(self, *issues: Issue) -> Sequence[Issue]:
        return await insert_credentials(self.database, issues)

    async def denied(self) -> set[UUID]:
        return {row["credential_id"] for row in await self.rows("SELECT credential_id FROM denials")}

    async def deltas(self) -> dict[tuple[str, str], int]:
        rows = await self.rows("SELECT dimension, key, sum(credentials)::int AS n FROM usage_deltas GROUP BY 1, 2")
        return {(row["dimension"], row["key"]): row["n"] for row in rows}


@pytest_asyncio.fixture(loop_scope="session")
async def store(database_url: str) -> AsyncIterator[Store]:
    database = PatientDatabase(database_url)
    store = Store(database_url, database)
    await bootstrap(database, organization="demo", project="demo")
    (store.project,) = await all_projects(database)
    await put_region(database, make_region(), ACTOR)
    await store.rows("INSERT INTO nodes (id, name, region, token_sha256) VALUES ($1, 'eu-1', 'eu-central', 'x')", NODE)
    yield store
    await database.close()


async def test_what_is_inserted_is_counted_once_by_everything_it_names(store: Store) -> None:
    other = str(uuid4())
    first = make_issue(1, room="r", initiator_client="a", receiver_client="b", node_ids=(str(NODE), other))
    second = make_issue(2, room="r", initiator_client="a", receiver_client="a", issued_at=AT + timedelta(minutes=59))
    third = make_issue(3, receiver_client="b", issued_at=AT + timedelta(minutes=60))
    await store.insert(first, second)
    await store.insert(second, third)
    await store.insert(first, second, third)
    assert await store.deltas() == {
        ("project", ""): 3,
        ("room", "r"): 2,
        ("client", "a"): 2,
        ("client", "b"): 2,
        ("region", "eu-central"): 3,
        ("node", str(NODE)): 3,
        ("node", other): 1,
    }
    found = await store.rows("SELECT at, first_at, last_at, credentials FROM usage_deltas WHERE dimension = 'project' ORDER BY id")
    assert [tuple(row) for row in found] == [
        (AT, first.issued_at, second.issued_at, 2),
        (AT + timedelta(hours=1), third.issued_at, third.issued_at, 1),
    ]


async def test_a_poisonous_record_is_neither_stored_nor_counted(store: Store) -> None:
    poison = store.issue(room="nul\x00nul")
    assert await store.insert(store.issue(room="r"), poison, store.issue(room="r")) == [poison]
    assert (await store.deltas())[("room", "r")] == 2
    assert (await store.deltas())[("project", "")] == 2


@pytest.mark.parametrize("kind", ["room", "client"])
async def test_nothing_slips_between_a_revocation_and_the_inserts_around_it(store: Store, kind: str) -> None:
    """Records arrive in any order around the calls. Whatever was issued before a call is denied, nothing else is."""
    denials = Denials(store.database)
    revoker = Revoker(store.database, denials)
    inserted: list[Issue] = []
    revoked_at: list[datetime] = []

    async def insert_all_the_time(number: int) -> None:
        for _ in range(40):
            batch = [store.issue(room="x", initiator_client="x") for _ in range(5)]
            await asyncio.sleep(0.02 * (number % 3))  # on some replicas they wait a little on the disk
            await store.insert(*batch)
            inserted.extend(batch)

    async def revoke_now_and_then() -> None:
        for _ in range(8):
            await asyncio.sleep(0.02)
            await revoker.revoke_named(store.project, ACTOR, "room" if kind == "room" else "client", "x")

    await asyncio.gather(*(insert_all_the_time(number) for number in range(5)), revoke_now_and_then())
    revoked_at = [row["revoked_at"] for row in await store.rows("SELECT revoked_at FROM revocations")]
    expected = {issue.credential_id for issue in inserted if issue.issued_at <= max(revoked_at)}
    assert 100 < len(expected) <= len(inserted)
    assert await store.denied() == expected
    told = denials.delta(str(NODE), 0)
    assert told is not None
    await denials.read()
    told = denials.delta(str(NODE), 0)
    assert told is not None
    assert {UUID(each.credential_id) for each in told.denied} == expected


async def test_a_revocation_waits_for_the_insert_that_has_begun(store: Store) -> None:
    """That insert cannot see the rule any more, and the revocation could not yet see what it inserts."""
    held_up, revoked = store.issue(), store.issue(room="r")
    revoker = Revoker(store.database, Denials(store.database))

    async def somebody_waits() -> bool:
        return bool(await store.rows("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))

    async def revocation_waits_or_is_over() -> bool:
        waits = await store.rows("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
        return bool(waits) or revoking.done()

    async with store.database.connection() as connection:
        other = connection.transaction()
        await other.start()
        await connection.execute(
            "INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions,"
            " selection, degraded) VALUES ($1, $2, $2, '', $1, '', '{}', '{}', '', false)",
            held_up.issued_at,
            held_up.credential_id,
        )
        inserting = asyncio.create_task(store.insert(held_up, revoked))
        await until(somebody_waits, within_seconds=5)
        revoking = asyncio.create_task(revoker.revoke_named(store.project, ACTOR, "room", "r"))
        await until(revocation_waits_or_is_over, within_seconds=5)
        await other.rollback()
    assert await inserting == []
    await revoking
    assert await store.denied() == {revoked.credential_id}


async def test_numbers_become_visible_in_their_order(store: Store) -> None:
    """A reader who has seen a number has seen all before it, however the transactions that drew them end."""
    revoker = Revoker(store.database, Denials(store.database))
    seen: list[int] = []
    done = asyncio.Event()

    async def read_all_the_time() -> None:
        reader = Denials(store.database)
        while not done.is_set():
            await reader.read()
            told = reader.delta(str(NODE), seen[-1] if seen else 0)
            seen.extend(each.number for each in told.denied) if told else None

    async def revoke_some() -> None:
        for _ in range(15):
            issues = [store.issue() for _ in range(3)]
            await store.insert(*issues)
            await revoker.revoke_ids(store.project, ACTOR, [issue.credential_id for issue in issues])

    reading = asyncio.create_task(read_all_the_time())
    await asyncio.gather(*(revoke_some() for _ in range(5)))
    await asyncio.sleep(0)
    done.set()
    await reading
    reader = Denials(store.database)
    await reader.read()
    told = reader.delta(str(NODE), seen[-1])
    seen.extend(each.number for each in told.denied) if told else None
    assert seen == [row["number"] for row in await store.rows("SELECT number FROM denials ORDER BY number")]
    assert len(seen) == 15 * 3 * 5


async def test_expired_credentials_are_left_alone_unless_they_are_in_use(store: Store) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    old = {"issued_at": hour_ago, "expires_at": hour_ago + timedelta(seconds=30), "room": "r"}
    over, in_use, named, valid = store.issue(**old), store.issue(**old), store.issue(**old), store.issue(room="r")
    await store.insert(over, in_use, named, valid)
    await store.rows(
        "INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, credential_id, project_id, room,"
        " revision, matched) VALUES ($1, gen_random_uuid(), $2, 'eu-central', 'boot-1', '1', $3, $4, 'r', 1, 'matched')",
        hour_ago,
        NODE,
        in_use.credential_id,
        store.project.project_id,
    )
    revoker = Revoker(store.database, Denials(store.database))
    await revoker.revoke_named(store.project, ACTOR, "room", "r")
    assert await store.denied() == {in_use.credential_id, valid.credential_id}
    assert await revoker.revoke_ids(store.project, ACTOR, [named.credential_id])
    assert named.credential_id in await store.denied()


async def test_a_webhook_is_told_of_each_revoked_credential_and_of_very_many_at_once(store: Store) -> None:
    await store.rows(
        "INSERT INTO webhooks (id, project_id, url, events, sealed_secret)"
        " VALUES (gen_random_uuid(), $1, 'https://example.com', '{credential.revoked}', '')",
        store.project.project_id,
    )
    revoker = Revoker(store.database, Denials(store.database))
    few = [store.issue(room="few", initiator_client="a") for _ in range(3)]
    await store.insert(*few)
    await revoker.revoke_named(store.project, ACTOR, "room", "few")
    await revoker.revoke_named(store.project, ACTOR, "client", "a")
    told = [row["data"] for row in await store.rows("SELECT body::json->'data'->>'credential_id' AS data FROM outbox ORDER BY id")]
    assert sorted(told) == sorted(str(issue.credential_id) for issue in few)
    for _ in range(5):
        await store.insert(*(store.issue(room="many") for _ in range(700)))
    await revoker.revoke_named(store.project, ACTOR, "room", "many")
    assert len(await store.denied()) == 3503
    counts = [row["n"] for row in await store.rows("SELECT (body::json->'data'->>'credentials')::int AS n FROM outbox ORDER BY id")]
    assert counts == [1] * 1003 + [2500]


async def test_a_credential_that_is_denied_once_more_is_not_told_once_more(store: Store) -> None:
    """Its denial was deleted, and then its node told of an allocation that nobody had known."""
    await store.rows(
        "INSERT INTO webhooks (id, project_id, url, events, sealed_secret)"
        " VALUES (gen_random_uuid(), $1, 'https://example.com', '{credential.revoked}', '')",
        store.project.project_id,
    )
    issue = store.issue()
    await store.insert(issue)
    async with store.database.transaction() as connection:
        await deny(connection, [Key(issue.issued_at, issue.credential_id)], reason="revoked")
    await store.rows("DELETE FROM denials")
    async with store.database.transaction() as connection:
        await deny(connection, [Key(issue.issued_at, issue.credential_id)], reason="revoked")
    assert await store.denied() == {issue.credential_id}
    assert len(await store.rows("SELECT FROM outbox")) == 1


async def test_what_was_read_is_served_while_postgresql_is_away(store: Store) -> None:
    issue = store.issue()
    await store.insert(issue)
    cold, warm = Denials(store.database), Denials(store.database)
    await Revoker(store.database, warm).revoke_ids(store.project, ACTOR, [issue.credential_id])
    await store.rows("ALTER TABLE denials RENAME TO gone")
    assert not await warm.read()
    assert not await cold.read()
    told = warm.delta(str(NODE), 0)
    assert told is not None
    assert [each.credential_id for each in told.denied] == [str(issue.credential_id)]
    for claimed in (0, 1, 1_000_000):
        assert cold.delta(str(NODE), claimed) is None
    assert warm.delta(str(NODE), 1_000_000) is None
    assert warm.delta(str(NODE), 1_000_000) is None


async def test_a_restored_database_begins_the_numbers_anew(store: Store) -> None:
    issues = [store.issue() for _ in range(4)]
    await store.insert(*issues)
    denials = Denials(store.database)
    revoker = Revoker(store.database, denials)
    await revoker.revoke_ids(store.project, ACTOR, [issue.credential_id for issue in issues[:3]])
    before = denials.delta(str(NODE), 0)
    assert before is not None
    await store.rows("TRUNCATE denials")
    await store.rows("ALTER SEQUENCE denial_numbers RESTART")
    await revoker.revoke_ids(store.project, ACTOR, [issues[3].credential_id])
    after = denials.delta(str(NODE), 0)
    assert after is not None
    assert [each.credential_id for each in after.denied] == [str(issues[3].credential_id)]
    assert denials.delta(str(NODE), before.up_to) is None
    await denials.read()
    reset = denials.delta(str(NODE), before.up_to)
    assert reset is not None
    assert (reset.up_to, list(reset.denied)) == (0, [])
