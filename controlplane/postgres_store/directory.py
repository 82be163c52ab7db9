"""Who is who in the fleet: regions and nodes, with the versions that tell a replica what it has to read again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from controlplane.fleet.model import Drain, Intent, Node, Region
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database, queries


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryVersion:
    version: int
    """Moves with every change of regions and nodes."""
    tenants_version: int
    """Moves with every change of organizations, projects and tokens."""
    database_at: datetime
    """PostgreSQL's clock at the answer: a replica whose own is far off must not sign."""


def node_of(row: Any) -> Node:
    """From a row of all of its columns."""
    drain = None
    if row["drain_deadline_at"] is not None:
        drain = Drain(
            since_at=row["intent_at"],
            deadline_at=row["drain_deadline_at"],
            force=row["drain_force"],
            withdrawn_at=row["secrets_withdrawn_at"],
            drained_at=row["drained_at"],
        )
    return Node(
        node_id=str(row["id"]),
        name=row["name"],
        region=row["region"],
        intent=Intent(row["intent"]),
        intent_reason=row["intent_reason"],
        intent_at=row["intent_at"],
        intent_by=row["intent_by"],
        drain=drain,
        secret_versions=tuple(row["secret_versions"]),
        secret_staged_at=row["secret_staged_at"],
        secret_signing_since=row["secret_signing_since"],
        rotation_wanted=row["rotation_wanted"],
        secret_floor=row["secret_floor"],
        secret_keys=tuple((int(first), key) for first, _, key in (run.partition(":") for run in row["secret_keys"])),
        token_sha256=row["token_sha256"],
        token_generation=row["token_generation"],
        token_at=row["token_at"],
        token_wanted_at=row["token_wanted_at"],
        joined_at=row["joined_at"],
        coturn_generation=row["coturn_generation"],
    )


async def directory_version(database: Database) -> DirectoryVersion:
    async with database.connection() as connection:
        row = await queries.directory_version(connection)
    return DirectoryVersion(**dict(row))


async def all_regions(database: Database) -> list[Region]:
    async with database.connection() as connection:
        return [Region(**dict(row)) async for row in queries.regions_all(connection)]


async def all_nodes(database: Database) -> list[Node]:
    async with database.connection() as connection:
        return [node_of(row) async for row in queries.nodes_all(connection)]


async def node_by_token(database: Database, sha256: bytes) -> Node | None:
    async with database.connection() as connection:
        row = await queries.node_by_token(connection, sha256=sha256)
    return None if row is None else node_of(row)


async def put_region(database: Database, region: Region, actor: Actor) -> None:
    """Make it, or change its name and place."""
    async with database.transaction() as connection:
        row = await queries.region_for_update(connection, slug=region.slug)
        before = None if row is None else Region(**dict(row))
        if before == region:
            return
        await queries.put_region(connection, **asdict(region))
        action = "region.create" if before is None else "region.patch"
        was = None if before is None else asdict(before)
        await write_audit(connection, actor, action, region.slug, before=was, after=asdict(region))
