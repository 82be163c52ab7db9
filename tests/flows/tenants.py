"""A replica's directory and authenticator over a real PostgreSQL, without an API around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controlplane.flows.authenticate import Authenticator
from controlplane.flows.bootstrap import bootstrap
from controlplane.flows.directory import Directory
from controlplane.flows.token_uses import TokenUses
from controlplane.postgres_store.database import Database
from controlplane.wire.token_format import ParsedToken, parse_token
from tests.databases import PatientDatabase


@dataclass(slots=True, kw_only=True)
class Replica:
    """Follows the database only when it is told to: `await replica.directory.refresh()`."""

    database: Database
    directory: Directory
    authenticator: Authenticator
    uses: TokenUses
    fleet_readings: int = 0
    tenant_readings: int = 0


@asynccontextmanager
async def replica_on(url: str, lookups: Database | None = None) -> AsyncIterator[Replica]:
    database = PatientDatabase(url)
    lookups = lookups or PatientDatabase(url)

    def fleet_changed() -> None:
        replica.fleet_readings += 1

    async def tenants_changed() -> None:
        replica.tenant_readings += 1
        await replica.authenticator.confirm()

    directory = Directory(database, lookups, fleet_changed=fleet_changed, tenants_changed=tenants_changed)
    uses = TokenUses(database)
    replica = Replica(
        database=database, directory=directory, authenticator=Authenticator(database, lookups, directory, uses), uses=uses
    )
    try:
        yield replica
    finally:
        await lookups.close()
        await database.close()


async def bootstrapped(database: Database) -> str:
    """A project token of demo/demo."""
    made = await bootstrap(database, organization="demo", project="demo")
    return made.project_token.reveal()


def parsed(token: str) -> ParsedToken:
    found = parse_token(token)
    assert found is not None
    return found
