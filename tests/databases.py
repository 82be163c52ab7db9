"""What tests ask the database with."""

from __future__ import annotations

from controlplane.postgres_store.database import Database


class PatientDatabase(Database):
    """Waits longer than the product does: a machine that is busy with something else is no failure of a test's own bookkeeping."""

    def __init__(self, url: str, *, connections: int = 10) -> None:
        super().__init__(url, connections=connections, acquire_seconds=30.0, statement_seconds=30.0)
