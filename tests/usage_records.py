"""Credentials and allocations in a database, as tests of usage need them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from uuid_utils.compat import uuid7

from controlplane.fleet.allocation import Allocation
from controlplane.fleet.issue import Issue
from controlplane.fleet.model import Node
from controlplane.flows.fold_usage import UsageFolder
from controlplane.postgres_store.database import queries
from controlplane.telemetry.metrics import Metrics
from tests.builders import make_issue, make_node
from tests.databases import PatientDatabase


class UsageBench:
    """A migrated database with a project, a node and a leader's term."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = PatientDatabase(url)
        self.node: Node = make_node(str(uuid4()), region="eu-central")
        self.project_id = uuid4()
        self.metrics = Metrics()
        self.folder = UsageFolder(self.database, self.metrics, epoch=0)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def make_project(self, **settings: object) -> UUID:
        """The project, with settings of the table of projects."""
        organization, project_id = uuid4(), uuid4()
        await self.rows("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, 'O')", organization, f"o-{organization}")
        await self.rows(
            "INSERT INTO projects (id, organization_id, slug, name) VALUES ($1, $2, 'p', 'P')", project_id, organization
        )
        for name, value in settings.items():
            await self.rows(f"UPDATE projects SET {name} = $2 WHERE id = $1", project_id, value)
        self.project_id = project_id
        return project_id

    def issue(self, **changes: Any) -> Issue:
        issued_at = datetime.now(UTC)
        fields: dict[str, Any] = {
            "issued_at": issued_at,
            "credential_id": UUID(str(uuid7())),
            "project_id": self.project_id,
            "node_ids": (self.node.node_id,),
            "room": "standup",
            "initiator_client": "ann",
            "receiver_client": "ben",
        }
        return make_issue(1, **fields | changes)

    async def new_term(self) -> int:
        async with self.database.connection() as connection:
            return int(await queries.take_leadership(connection))

    async def usage(self, dimension: str, key: str, bucket: str = "hour") -> tuple[int, int, int, int]:
        """(credentials, allocations, bytes from clients, bytes to clients) over all hours or days."""
        (row,) = await self.rows(
            "SELECT coalesce(sum(credentials), 0)::bigint AS c, coalesce(sum(allocations), 0)::bigint AS a,"
            " coalesce(sum(bytes_from_client), 0)::bigint AS f, coalesce(sum(bytes_to_client), 0)::bigint AS t"
            " FROM usage WHERE project_id = $1 AND dimension = $2 AND key = $3 AND bucket = $4",
            self.project_id,
            dimension,
            key,
            bucket,
        )
        return row["c"], row["a"], row["f"], row["t"]


def make_allocation(credential_id: UUID, **changes: Any) -> Allocation:
    """A live UDP allocation that began 10 seconds ago, in whole milliseconds."""
    began = datetime.now(UTC) - timedelta(seconds=10)
    fields: dict[str, Any] = {
        "coturn_boot_id": "coturn-boot-1",
        "session_id": "001000000000000001",
        "started_at": began.replace(microsecond=began.microsecond // 1000 * 1000),
        "revision": 1,
        "credential_id": credential_id,
        "credential_expires_at": None,
        "client_address": "198.51.100.77",
        "transport": "udp",
        "bytes_from_client": 1000,
        "bytes_to_client": 500,
        "packets_from_client": 10,
        "packets_to_client": 5,
        "bits_per_second": 1200,
        "ended_at": None,
        "end_reason": None,
    }
    return Allocation(**fields | changes)
