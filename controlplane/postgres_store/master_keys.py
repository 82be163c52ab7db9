"""Which master key is in use, who runs with which, and what still needs another one. Ids of keys only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from controlplane.postgres_store.database import Database, queries

HOLDER_SECONDS = 30.0
"""A process that was not seen for so long is gone."""
_SEALED_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKeyStatus:
    key_id: str
    adopted_at: datetime
    webhooks: int
    """Sealed with another key."""
    with_it: int
    """Processes that have it as their current key."""
    with_another: int


async def announce_keys(database: Database, process_id: UUID, *, current: str, known: Iterable[str]) -> str:
    """The id of the key in use: the first at once, another one as soon as all agree. Raises DatabaseUnavailableError.

    Of two keys the earlier one is the first: it is what everything came from until now.
    """
    async with database.transaction() as connection:
        await queries.lock_master_keys(connection)
        await queries.announce_keys(connection, process_id=process_id, current=current, known=sorted(known))
        in_use: str | None = await queries.key_in_use(connection)
        if in_use is None:
            in_use = next((key for key in known if key != current), current)
            await queries.use_key_regardless(connection, key=in_use)
            await queries.name_key(connection, key=in_use)
        if in_use == current or not await queries.use_key(connection, key=current, so_far=in_use, seconds=HOLDER_SECONDS):
            return in_use
        await _leave_key(connection, in_use)
        return current


async def _leave_key(connection: Any, key_id: str) -> None:
    """What came from it is known by it, and what could be made with it is to be replaced."""
    await queries.name_key(connection, key=key_id)
    await queries.want_other_node_tokens(connection)


async def key_in_use(database: Database) -> str | None:
    """None: no process has said yet what it has. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        key_id: str | None = await queries.key_in_use(connection)
    return key_id


async def leave_keys(database: Database, process_id: UUID) -> None:
    """Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        await queries.leave_keys(connection, process_id=process_id)


async def use_key_regardless(database: Database, key_id: str) -> bool:
    """Whoever has another one: for a key that was lost. False: it is in use already. Raises DatabaseUnavailableError."""
    async with database.transaction() as connection:
        await queries.lock_master_keys(connection)
        in_use: str | None = await queries.key_in_use(connection)
        if in_use == key_id:
            return False
        await queries.use_key_regardless(connection, key=key_id)
        if in_use is not None:
            await _leave_key(connection, in_use)
        return True


async def master_key_status(database: Database) -> MasterKeyStatus | None:
    """None: no process has said yet what it has. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        row = await queries.master_key_status(connection, seconds=HOLDER_SECONDS)
    return None if row is None else MasterKeyStatus(**dict(row))


async def seal_webhooks_again(
    database: Database, seal_again: Callable[[bytes, UUID], bytes], *, key_id: str, known: Iterable[str], epoch: int
) -> int:
    """Those that are sealed with another of the known keys, some at a time; how many. Raises DatabaseUnavailableError."""
    sealed = 0
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return 0
        found = queries.webhooks_sealed_otherwise(connection, key=key_id, known=sorted(known), most=_SEALED_AT_ONCE)
        for row in [each async for each in found]:
            old = row["sealed_old_secret"]
            await queries.seal_webhook_again(
                connection,
                id=row["id"],
                before=row["sealed_secret"],
                before_old=old,
                sealed=seal_again(row["sealed_secret"], row["id"]),
                sealed_old=None if old is None else seal_again(old, row["id"]),
            )
            sealed += 1
    return sealed
