"""Durable state in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.join_node import JoinedNode, join_node, make_join_token
from controlplane.postgres_store.credentials import ensure_partitions, insert_credentials
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.directory import all_nodes, all_regions, directory_version, node_by_token, put_region
from controlplane.postgres_store.errors import ConflictError, DatabaseUnavailableError
from controlplane.postgres_store.events import FleetEvent, insert_events, last_health
from controlplane.postgres_store.joining import JoinRefusal, insert_join_token
from controlplane.postgres_store.leadership import Leadership
from controlplane.postgres_store.migrate import migrate
from controlplane.postgres_store.tenants import all_projects, token_by_id, tokens_by_ids
from controlplane.wire.token_format import make_token, parse_token
from tests.builders import ACTOR, make_issue, make_region
from tests.databases import PatientDatabase
from tests.running_api import until


async def rows(url: str, query: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url)
    assert len(await rows(database_url, "SELECT * FROM alembic_version")) == 1


async def test_a_batch_sent_twice_is_stored_once(database_url: str) -> None:
    database = PatientDatabase(database_url)
    issues = [
        make_issue(
            number, issued_at=datetime.now(UTC), client_address="2001:db8::7", room="r", node_ids=(str(uuid4()), str(uuid4()))
        )
        for number in range(1, 1001)
    ]
    assert await insert_credentials(database, issues) == []
    assert await insert_credentials(database, [*issues[500:], make_issue(2000)]) == []
    found = await rows(database_url, "SELECT id, node_ids, host(client_address) AS address FROM credentials ORDER BY id")
    assert [row["id"].int for row in found] == [*range(1, 1001), 2000]
    assert [str(node) for node in found[0]["node_ids"]] == list(issues[0].node_ids)
    assert found[0]["address"] == "2001:db8::7"
    await database.close()


async def test_one_poisonous_record_holds_no_other_up(database_url: str) -> None:
    database = PatientDatabase(database_url)
    poison = make_issue(2, room="nul\x00nul")
    refused = await insert_credentials(database, [make_issue(1), poison, make_issue(3)])
    assert refused == [poison]
    assert len(await rows(database_url, "SELECT FROM credentials")) == 2
    await database.close()


async def test_partitions_of_the_coming_days_are_there(database_url: str) -> None:
    database = PatientDatabase(database_url)
    await ensure_partitions(database, days=9)
    await ensure_partitions(database, days=9)
    tomorrow = datetime.now(UTC) + timedelta(days=9)
    await insert_credentials(database, [make_issue(1, issued_at=tomorrow)])
    found = await rows(database_url, "SELECT tableoid::regclass::text AS part FROM credentials")
    assert found[0]["part"] == f"credentials_{tomorrow:%Y%m%d}"
    await database.close()


async def test_bootstrap_makes_working_tokens_and_keeps_what_exists(database_url: str) -> None:
    database = PatientDatabase(database_url)
    first = await bootstrap(database, organization="acme", project="chat")
    await bootstrap(database, organization="acme", project="chat")
    assert [(project.organization_slug, project.slug) for project in await all_projects(database)] == [("acme", "chat")]
    parsed = parse_token(first.project_token.reveal())
    assert parsed is not None
    token = await token_by_id(database, parsed.token_id)
    assert token is not None
    assert (token.kind, token.sha256) == ("project", parsed.sha256)
    assert "fleet:operate" not in token.scopes
    assert set(await tokens_by_ids(database, [parsed.token_id, "missing"])) == {parsed.token_id}
    stored = await rows(database_url, "SELECT * FROM tokens")
    assert not any(first.project_token.reveal() in str(dict(row)) for row in stored)
    await database.close()


async def test_every_change_of_the_directory_moves_its_version(database_url: str) -> None:
    database = PatientDatabase(database_url)
    before = await directory_version(database)
    await put_region(database, make_region(), ACTOR)
    middle = await directory_version(database)
    await put_region(database, replace(make_region(), city="Berlin"), ACTOR)
    assert before.version < middle.version < (await directory_version(database)).version
    assert abs((before.database_at - datetime.now(UTC)).total_seconds()) < 5
    assert [region.city for region in await all_regions(database)] == ["Berlin"]
    await database.close()


async def joined(database: Database, token: str, *, nonce: str = "nonce-1", name: str = "relay-1") -> JoinedNode | JoinRefusal:
    return await join_node(database, join_token=token, nonce=nonce, name=name, is_in_service=lambda _: False)


async def test_of_fifty_parallel_uses_of_a_join_token_one_wins(database_url: str) -> None:
    database = PatientDatabase(database_url)
    await put_region(database, make_region(), ACTOR)
    token, _ = await make_join_token(database, region="eu-central", node_name=None, ttl_seconds=60, actor=ACTOR)
    outcomes = await asyncio.gather(*(joined(database, token.reveal(), nonce=f"nonce-{n}", name=f"relay-{n}") for n in range(50)))
    assert sum(isinstance(outcome, JoinedNode) for outcome in outcomes) == 1
    assert {outcome for outcome in outcomes if isinstance(outcome, JoinRefusal)} == {JoinRefusal.TOKEN_USED}
    assert len(await all_nodes(database)) == 1
    await database.close()


async def test_a_join_whose_answer_was_lost_may_be_asked_again(database_url: str) -> None:
    database = PatientDatabase(database_url)
    await put_region(database, make_region(), ACTOR)
    token, _ = await make_join_token(database, region="eu-central", node_name=None, ttl_seconds=60, actor=ACTOR)
    lost, again = await joined(database, token.reveal()), await joined(database, token.reveal())
    assert isinstance(lost, JoinedNode)
    assert isinstance(again, JoinedNode)
    assert lost.node_id == again.node_id
    lost_parsed, again_parsed = parse_token(lost.node_token.reveal()), parse_token(again.node_token.reveal())
    assert lost_parsed is not None
    assert again_parsed is not None
    assert await node_by_token(database, lost_parsed.sha256) is None
    assert await node_by_token(database, again_parsed.sha256) is not None
    await database.close()


async def test_join_tokens_are_refused_with_the_reason(database_url: str) -> None:
    database = PatientDatabase(database_url)
    await put_region(database, make_region(), ACTOR)
    named, _ = await make_join_token(database, region="eu-central", node_name="relay-7", ttl_seconds=60, actor=ACTOR)
    other, _ = await make_join_token(database, region="eu-central", node_name=None, ttl_seconds=60, actor=ACTOR)
    expired, parsed = make_token("join", os.urandom(32))
    await insert_join_token(
        database,
        token_id=parsed.token_id,
        sha256=parsed.sha256,
        region="eu-central",
        node_name=None,
        actor=ACTOR,
        expires_at=datetime.now(UTC) - timedelta(seconds=1),
    )
    stranger, _ = make_token("join", os.urandom(32))
    assert await joined(database, named.reveal()) is JoinRefusal.NAME_MISMATCH
    assert isinstance(await joined(database, named.reveal(), name="relay-7"), JoinedNode)
    assert await joined(database, other.reveal(), name="relay-7") is JoinRefusal.NAME_TAKEN
    assert await joined(database, expired.reveal()) is JoinRefusal.TOKEN_EXPIRED
    assert await joined(database, stranger.reveal()) is JoinRefusal.TOKEN_UNKNOWN
    assert await joined(database, "tfj_nonsense") is JoinRefusal.TOKEN_UNKNOWN
    with pytest.raises(ConflictError):
        await make_join_token(database, region="atlantis", node_name=None, ttl_seconds=60, actor=ACTOR)
    await database.close()


def an_event(became: str) -> FleetEvent:
    return FleetEvent(
        happened_at=datetime.now(UTC),
        kind="node.health",
        region="eu-central",
        node_id=UUID(int=1),
        was=None,
        became=became,
        reason="reporting",
        detail="",
    )


async def test_a_frozen_leaders_writes_are_refused_after_its_successor_began(database_url: str) -> None:
    database = PatientDatabase(database_url)
    old, new = Leadership(database_url), Leadership(database_url)
    assert await old.try_lead()
    assert not await new.try_lead()
    assert old.epoch is not None
    await insert_events(database, [an_event("up")], epoch=old.epoch)
    # The old one says nothing for longer than its session may be silent: PostgreSQL ends it.

    async def successor_leads() -> bool:
        try:
            return await new.try_lead()
        except DatabaseUnavailableError:
            return False

    async def keep_candidate_alive() -> bool:
        return await successor_leads()

    took = await until(keep_candidate_alive, within_seconds=12, what="a successor leads")
    assert took < 6
    epoch = old.epoch
    await insert_events(database, [an_event("down")], epoch=epoch)
    assert await last_health(database) == {str(UUID(int=1)): "up"}
    assert not await old.renew()
    await new.resign()
    await database.close()


async def test_a_leader_that_resigns_is_followed_at_once(database_url: str) -> None:
    one, two = Leadership(database_url), Leadership(database_url)
    assert await one.try_lead()
    assert await one.renew()
    await one.resign()
    await until(two.try_lead, within_seconds=2)
    await two.resign()


async def test_whatever_postgresql_refuses_with_is_said_as_unavailable(database_url: str) -> None:
    for url in (database_url + "_gone", database_url.replace("//turnfleet", "//nobody")):
        database = PatientDatabase(url)
        with pytest.raises(DatabaseUnavailableError):
            await directory_version(database)
        await database.close()
    database = PatientDatabase(database_url)
    async with database.transaction() as connection:
        await connection.execute("ALTER TABLE directory_version RENAME TO gone")
    with pytest.raises(DatabaseUnavailableError, match="directory_version"):
        await directory_version(database)
    await database.close()


async def test_a_second_project_is_not_the_default(database_url: str) -> None:
    database = PatientDatabase(database_url)
    await bootstrap(database, organization="acme", project="one")
    await bootstrap(database, organization="acme", project="two")
    assert {project.slug: project.is_default for project in await all_projects(database)} == {"one": True, "two": False}
    await database.close()


async def test_a_database_that_is_not_there_is_said_within_its_deadline() -> None:
    database = Database("postgresql://turnfleet@127.0.0.1:1/turnfleet")
    with pytest.raises(DatabaseUnavailableError):
        await directory_version(database)
    await database.close()
