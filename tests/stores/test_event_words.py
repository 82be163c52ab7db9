"""Words of agents in events, as PostgreSQL takes them."""

from __future__ import annotations

from datetime import UTC, datetime

from controlplane.postgres_store.database import queries
from controlplane.postgres_store.events import FleetEvent, insert_events
from tests.databases import PatientDatabase


async def test_a_nul_in_the_words_of_one_agent_holds_up_nobodys_events(database_url: str) -> None:
    database = PatientDatabase(database_url, connections=1)
    async with database.connection() as connection:
        epoch = await queries.take_leadership(connection)
    events = [
        FleetEvent(
            happened_at=datetime.now(UTC),
            kind="node.health",
            region="eu",
            node_id=None,
            was="up",
            became="down",
            reason="",
            detail=detail,
        )
        for detail in ("udp: \0", "tcp: refused")
    ]
    await insert_events(database, events, epoch=epoch)
    async with database.connection() as connection:
        assert [row["detail"] for row in await connection.fetch("SELECT detail FROM fleet_events ORDER BY id")] == [
            "udp: ",
            "tcp: refused",
        ]
    await database.close()
