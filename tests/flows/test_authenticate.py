"""A token's way from PostgreSQL into memory, and out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.flows.authenticate import AuthenticationError, AuthenticationUnavailableError, Authenticator, Principal
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.manage_tokens import remove_token
from controlplane.flows.tenant_access import Reach
from controlplane.postgres_store.database import Database
from tests.builders import ACTOR
from tests.flows.tenants import bootstrapped, parsed, replica_on

_ALL = Reach(organization_id=None, project_id=None, operators=True)


class LateDatabase(Database):
    """Whose answers arrive when `arrive` is set: a slow network."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked = asyncio.Event()
        self.arrive = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with super().connection() as connection:
            yield connection
        self.asked.set()
        await self.arrive.wait()


async def test_an_answer_that_is_older_than_a_deletion_does_not_bring_the_token_back(database_url: str) -> None:
    late = LateDatabase(database_url)
    async with replica_on(database_url, lookups=late) as replica:
        token = await bootstrapped(replica.database)
        await replica.directory.refresh()
        asking = asyncio.create_task(replica.authenticator.authenticate(token))
        await late.asked.wait()
        await remove_token(replica.database, ACTOR, _ALL, parsed(token).token_id)
        await replica.directory.refresh()
        late.arrive.set()
        with pytest.raises(AuthenticationError):
            await asking


async def test_a_project_that_was_made_a_moment_ago_is_there_with_its_token(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        await replica.directory.refresh()
        token = await bootstrapped(replica.database)
        principal = await replica.authenticator.authenticate(token)
        assert replica.authenticator.project_of(principal, None).slug == "demo"


async def test_nobody_meets_a_new_token_before_its_project(database_url: str) -> None:
    """Two requests: the second comes while the first waits for the reading of the projects."""
    async with replica_on(database_url) as replica:
        await replica.directory.refresh()
        token = await bootstrapped(replica.database)
        requests: set[asyncio.Task[Principal]] = set()
        async with replica.directory._refreshing:
            for _ in range(2):
                requests.add(asyncio.create_task(replica.authenticator.authenticate(token)))
                done, _ = await asyncio.wait(requests, timeout=0.3)
                assert done == set()
        for request in requests:
            assert replica.authenticator.project_of(await request, None).slug == "demo"


async def test_a_token_that_was_looked_up_while_the_others_are_confirmed_is_not_taken_for_deleted(database_url: str) -> None:
    late, lookups = LateDatabase(database_url), LateDatabase(database_url)
    lookups.arrive.set()
    async with replica_on(database_url, lookups=lookups) as replica:
        first = await bootstrapped(replica.database)
        await replica.directory.refresh()
        replica.authenticator = Authenticator(late, lookups, replica.directory, replica.uses)
        await replica.authenticator.authenticate(first)
        lookups.asked.clear()
        await bootstrapped(replica.database)
        confirming = asyncio.create_task(replica.directory.refresh())
        await late.asked.wait()
        # Its project is not known here either, so that it waits for the next reading, and that one for this.
        made = await bootstrap(replica.database, organization="new", project="new")
        asking = asyncio.create_task(replica.authenticator.authenticate(made.project_token.reveal()))
        await lookups.asked.wait()
        late.arrive.set()
        assert replica.authenticator.project_of(await asking, None).slug == "new"
        assert await confirming
    await late.close()


async def test_a_change_of_tenants_reads_no_node_and_a_change_of_nodes_no_tenant(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        await replica.directory.refresh()
        await replica.directory.refresh()
        assert (replica.fleet_readings, replica.tenant_readings) == (1, 1)
        await bootstrapped(replica.database)
        await replica.directory.refresh()
        assert (replica.fleet_readings, replica.tenant_readings) == (1, 2)
        async with replica.database.connection() as connection:
            await connection.execute("INSERT INTO regions VALUES ('eu', 'EU', 'City', 'DE', 1, 1)")
        await replica.directory.refresh()
        assert (replica.fleet_readings, replica.tenant_readings) == (2, 2)


async def test_a_token_that_was_never_seen_cannot_be_judged_while_postgresql_is_away(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        token = await bootstrapped(replica.database)
    async with replica_on("postgresql://nobody@127.0.0.1:1/none") as away:
        with pytest.raises(AuthenticationUnavailableError):
            await away.authenticator.authenticate(token)
