"""The pool, the named queries, and the one place where driver errors become ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosql
import asyncpg

from controlplane.postgres_store.errors import ConflictError, DatabaseUnavailableError

queries: Any = aiosql.from_path(Path(__file__).parent / "sql", "asyncpg", mandatory_parameters=False)
"""All named queries of sql/*.sql."""

UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Whatever PostgreSQL or the driver refuses with (away, full, locked, another password, not migrated yet): for whoever waits
for an answer it is the same, the message says which, and none of it may end a process that can issue without PostgreSQL."""


class Database:
    """A bounded pool. Nothing here waits without end: acquiring, statements and locks all have deadlines."""

    def __init__(
        self,
        url: str,
        *,
        connections: int = 4,
        acquire_seconds: float = 2.0,
        statement_seconds: float = 2.0,
        server_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._server_settings = server_settings or {}
        self._connections = connections
        self._acquire_seconds = acquire_seconds
        self._statement_seconds = statement_seconds
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        """The pool connects at first use, so that a process starts while PostgreSQL is away."""
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections,
                    timeout=self._acquire_seconds,
                    command_timeout=self._statement_seconds,
                    max_inactive_connection_lifetime=60,
                    server_settings={
                        "application_name": "turnfleet",
                        "lock_timeout": "1000",
                        "statement_timeout": str(int(self._statement_seconds * 1000)),
                        "idle_in_transaction_session_timeout": "5000",
                        **self._server_settings,
                    },
                )
            return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection from the pool. Raises DatabaseUnavailableError or ConflictError in place of the driver's errors."""
        try:
            pool = await self._opened()
            async with pool.acquire(timeout=self._acquire_seconds) as connection:
                yield connection
        except (asyncpg.UniqueViolationError, asyncpg.ForeignKeyViolationError) as error:
            raise ConflictError(str(error)) from error
        except UNAVAILABLE as error:
            raise DatabaseUnavailableError(f"PostgreSQL: {type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """A connection inside one transaction."""
        async with self.connection() as connection, connection.transaction():
            yield connection
