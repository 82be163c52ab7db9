"""Who runs the jobs: a PostgreSQL advisory lock on a connection of its own, and an epoch that fences a frozen ex-leader."""

from __future__ import annotations

import asyncpg

from controlplane.postgres_store.database import UNAVAILABLE, queries
from controlplane.postgres_store.errors import DatabaseUnavailableError

_LOCK = 0x6C656164
SESSION_TIMEOUT_SECONDS = 3.0
"""PostgreSQL ends a leader's session that was silent for this long, and with it the lock: a stopped process would hold a
plain advisory lock for ever."""


class Leadership:
    """One candidacy. `renew` at least once a second while leading."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self.epoch: int | None = None
        """The term, while leading."""

    async def try_lead(self) -> bool:
        """True when this process leads now. Raises DatabaseUnavailableError."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._url,
                    timeout=2,
                    command_timeout=2,
                    server_settings={
                        "application_name": "turnfleet-leader",
                        "idle_session_timeout": str(int(SESSION_TIMEOUT_SECONDS * 1000)),
                        # What a frozen leader has locked may take longer to be free: then another try, and no session of
                        # ours that waits on with the leader's lock in its hand.
                        "lock_timeout": "1000",
                        "tcp_keepalives_idle": "2",
                        "tcp_keepalives_interval": "1",
                        "tcp_keepalives_count": "3",
                    },
                )
            if not await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return False
            try:
                self.epoch = await queries.take_leadership(self._connection)
            except asyncpg.LockNotAvailableError:
                # A frozen leader that stopped between two messages of one statement: none of PostgreSQL's time-outs ends that.
                await queries.end_silent_transactions(self._connection, silent_seconds=SESSION_TIMEOUT_SECONDS)
                raise
        except UNAVAILABLE as error:
            await self.resign()
            raise DatabaseUnavailableError(f"PostgreSQL: {type(error).__name__}: {error}") from error
        return True

    async def renew(self) -> bool:
        """Keep the session alive. False when it is lost: stop every job at once."""
        if self._connection is None:
            return False
        try:
            await self._connection.execute("SELECT 1")
        except UNAVAILABLE:
            await self.resign()
            return False
        return True

    async def resign(self) -> None:
        """Let go of the lock by closing the session. Never raises."""
        self.epoch = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
