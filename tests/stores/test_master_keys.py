"""Which master key is used: the first at once, another one when all agree, and by hand when one is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest_asyncio

from controlplane.postgres_store.master_keys import (
    announce_keys,
    key_in_use,
    leave_keys,
    master_key_status,
    use_key_regardless,
)
from tests.databases import PatientDatabase

A, B = uuid4(), uuid4()


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[PatientDatabase]:
    made = PatientDatabase(database_url)
    yield made
    await made.close()


async def said(database: PatientDatabase, process: UUID, current: str, *others: str) -> str:
    """As a process that was just started with these keys."""
    await leave_keys(database, process)
    return await announce_keys(database, process, current=current, known={current, *others})


async def test_the_first_key_is_used_at_once_and_the_nodes_there_were_come_from_it(database: PatientDatabase) -> None:
    assert await key_in_use(database) is None
    assert await master_key_status(database) is None
    async with database.connection() as connection:
        await connection.execute("INSERT INTO regions VALUES ('eu', 'EU', 'City', 'DE', 1, 1)")
        await connection.execute("INSERT INTO nodes (id, name, region, token_sha256) VALUES (gen_random_uuid(), 'n', 'eu', 'x')")
    assert await said(database, A, "old") == "old"
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT secret_keys FROM nodes") == ["1:old"]
        staged = await connection.fetchval("SELECT under_active_key(secret_keys, 2) FROM nodes")
        assert staged == ["1:old"], "a version of the same key begins nothing new"


async def test_another_key_is_used_when_all_have_it_in_whichever_order(database: PatientDatabase) -> None:
    await said(database, A, "old")
    await said(database, B, "old")
    assert await said(database, A, "new", "old") == "old"
    status = await master_key_status(database)
    assert status is not None
    assert (status.key_id, status.with_it, status.with_another) == ("old", 1, 1)
    assert await said(database, B, "old", "new") == "old", "it only knows it"
    assert await said(database, B, "new", "old") == "new"
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT under_active_key('{1:old}', 5)") == ["1:old", "5:new"]
    assert await said(database, A, "old") == "new", "a process that was forgotten changes nothing"
    assert await said(database, A, "old", "new") == "new"
    async with database.connection() as connection:
        told = await connection.fetch("SELECT kind, was, became FROM fleet_events")
    assert [tuple(row) for row in told] == [("fleet.master_key", "old", "new")]
    assert await said(database, B, "old", "new") == "old", "back again, when all want it"


async def test_a_key_without_the_one_before_is_not_used(database: PatientDatabase) -> None:
    await said(database, A, "old")
    assert await said(database, A, "new") == "old"
    assert await use_key_regardless(database, "new")
    assert not await use_key_regardless(database, "new")
    assert await said(database, A, "new") == "new"


async def test_who_was_not_seen_for_long_holds_nothing_up(database: PatientDatabase) -> None:
    await said(database, A, "old")
    await said(database, B, "old")
    async with database.connection() as connection:
        await connection.execute("UPDATE key_holders SET seen_at = now() - interval '31 seconds' WHERE process_id = $1", B)
    assert await said(database, A, "new", "old") == "new"


async def test_of_two_keys_the_one_before_is_the_first(database: PatientDatabase) -> None:
    """Whoever upgrades and changes the key in one go: everything came from the one before."""
    assert await announce_keys(database, A, current="new", known=["new", "old"]) == "new"
    status = await master_key_status(database)
    assert status is not None
    assert status.key_id == "new"
    async with database.connection() as connection:
        assert [row["key_id"] for row in await connection.fetch("SELECT key_id FROM master_keys ORDER BY number")] == ["old", "new"]


async def test_node_tokens_that_came_from_the_key_before_are_replaced(database: PatientDatabase) -> None:
    await said(database, A, "old")
    async with database.connection() as connection:
        await connection.execute("INSERT INTO regions VALUES ('eu', 'EU', 'City', 'DE', 1, 1)")
        for name, generation in (("joined", 0), ("derived", 1)):
            await connection.execute(
                "INSERT INTO nodes (id, name, region, token_sha256, token_generation) VALUES (gen_random_uuid(), $1, 'eu', $2, $3)",
                name,
                name.encode(),
                generation,
            )
    assert await use_key_regardless(database, "new")
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT name, token_wanted_at IS NOT NULL AS wanted, secret_keys FROM nodes ORDER BY name")
    assert [(row["name"], row["wanted"], row["secret_keys"]) for row in rows] == [
        ("derived", True, ["1:old"]),
        ("joined", False, ["1:old"]),
    ]
