"""What agents found, in a real PostgreSQL."""

from __future__ import annotations

from uuid import uuid4

import pytest

from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.findings import findings_of, put_findings
from controlplane.wire.found_api import Found
from tests.databases import PatientDatabase


async def test_of_a_node_that_is_no_more_nothing_is_kept(database_url: str) -> None:
    """It was forgotten between the look at its token and this."""
    database, node_id = PatientDatabase(database_url, connections=1), str(uuid4())
    found = Found(examined_at=1, listen_address="::1", relay_address="::1")
    with pytest.raises(ConflictError):
        await put_findings(database, node_id, found, source_address="not an address")
    assert await findings_of(database, node_id) is None
    await database.close()
