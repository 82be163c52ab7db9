"""When a token was last used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.flows.manage_tokens import remove_token, show_token
from controlplane.flows.tenant_access import Reach
from controlplane.flows.token_uses import TokenUses
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.tenants import note_token_uses
from tests.builders import ACTOR
from tests.flows.tenants import bootstrapped, parsed, replica_on

_ALL = Reach(organization_id=None, project_id=None, operators=True)


async def last_use(database: Database, token_id: str) -> datetime | None:
    return (await show_token(database, _ALL, token_id)).last_used_at


async def test_a_use_is_noted_with_the_next_flush(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        token = await bootstrapped(replica.database)
        token_id = parsed(token).token_id
        await replica.directory.refresh()
        await replica.authenticator.authenticate(token)
        assert await last_use(replica.database, token_id) is None
        await replica.uses.flush()
        noted = await last_use(replica.database, token_id)
        assert noted is not None
        assert abs(noted - datetime.now(UTC)) < timedelta(seconds=10)
        await replica.directory.refresh()
        assert replica.tenant_readings == 1  # a use is no change of tenants


async def test_an_older_use_does_not_take_the_place_of_a_newer_one(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        token_id = parsed(await bootstrapped(replica.database)).token_id
        now = datetime.now(UTC)
        await note_token_uses(replica.database, {token_id: now})
        await note_token_uses(replica.database, {token_id: now - timedelta(seconds=9)})
        assert await last_use(replica.database, token_id) == now


async def test_a_token_that_is_gone_holds_no_other_up(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        token_id = parsed(await bootstrapped(replica.database)).token_id
        uses = TokenUses(replica.database)
        uses.note("gone-for-ever")
        uses.note(token_id)
        await uses.flush()
        assert await last_use(replica.database, token_id) is not None
        await remove_token(replica.database, ACTOR, _ALL, token_id)
        uses.note(token_id)
        await uses.flush()


async def test_uses_are_kept_while_postgresql_is_away(database_url: str) -> None:
    async with replica_on(database_url) as replica:
        token_id = parsed(await bootstrapped(replica.database)).token_id
        uses = TokenUses(replica.database)
        uses.note(token_id)
        async with replica.database.connection() as connection:
            await connection.execute("ALTER TABLE token_uses RENAME TO away")
        await uses.flush()
        async with replica.database.connection() as connection:
            await connection.execute("ALTER TABLE away RENAME TO token_uses")
        await uses.flush()
        assert await last_use(replica.database, token_id) is not None
