"""History as small charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg

from tests.cli.running_cli import cli_for
from tests.client.used_api import Used


async def test_a_node_s_past_is_drawn_with_gaps(used: Used, folder: Path) -> None:
    operator = cli_for(used.api, folder, "operator")
    node = await used.api.node("eu-1")
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    connection = await asyncpg.connect(used.api.environment["TURNFLEET_DATABASE_URL"])
    for hours, health, bits in ((12, "up", 2e6), (6, "down", None), (3, "up", 8e6)):
        await connection.execute(
            """INSERT INTO node_minutes (node_id, at, ticks, reports, health, eligible_ratio, receive_bits_per_second,
                max_bits_per_second, health_reason, intent) VALUES ($1, $2, 6, $3, $4, 1, $5, $5, 'reporting', 'active')""",
            UUID(node["node_id"]), now - timedelta(hours=hours), 0 if bits is None else 6, health, bits,
        )  # fmt: skip
    await connection.close()
    drawn = await operator("node", "history", "eu-1", "--since", "24h", COLUMNS="120")
    assert drawn.status == 0, drawn.err
    lines = {line[:22].strip(): line[22:] for line in drawn.lines}
    assert drawn.lines[0].startswith("eu-1 in eu-central, ")
    assert drawn.lines[0].endswith("by 5 min")
    assert lines["health"].split() == ["▁", "█", "▁"]
    assert lines["from clients and peers"].split() == ["2.0", "Mbit/s", "8.0", "Mbit/s", "▂", "█"]
    assert lines["cpu"].split() == ["-", "-"]
    assert (await operator("node", "history", "eu-1", "--json")).json()["step_seconds"] == 300
    region = await operator("region", "history", "eu-central", "--since", "1h")
    assert (region.status, region.lines[0].endswith("by 60 s")) == (0, True)
    assert "Nothing is kept of that time." in region.err
    assert (await operator("node", "history", "nobody")).status == 4
    assert (await operator("node", "history", "eu-1", "--since", "1h", "--until", "2h")).status == 1
