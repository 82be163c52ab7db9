"""When tokens were last used: kept in memory and written down every few seconds, so that a request pays a dict write."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import structlog

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import ConflictError, DatabaseUnavailableError
from controlplane.postgres_store.tenants import note_token_uses

_PERIOD_SECONDS = 10.0
_NOTED = 10_000
"""Tokens in one period; a use beyond is noted in the next one. Bounds the memory and the statement."""

log = structlog.get_logger()


class TokenUses:
    """One per replica. Run `run()` as a task; `flush()` once more at the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, float] = {}
        self._failing = False

    def note(self, token_id: str) -> None:
        if len(self._used) < _NOTED or token_id in self._used:
            self._used[token_id] = time.time()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """In one statement. What PostgreSQL did not take is kept for the next time."""
        noted = dict(self._used)
        if not noted:
            return
        try:
            await note_token_uses(self._database, {each: datetime.fromtimestamp(at, UTC) for each, at in noted.items()})
        except (ConflictError, DatabaseUnavailableError) as error:  # a conflict: a token was deleted in the same moment
            if not self._failing:
                log.warning("token_uses_not_noted", reason=str(error))
            self._failing = True
            return
        self._failing = False
        self._used = {each: at for each, at in self._used.items() if noted.get(each) != at}
