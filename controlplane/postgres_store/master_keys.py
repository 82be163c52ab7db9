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
        await _change_key(connection, was=in_use, became=current)
        return current


async def _change_key(connection: Any, *, was: str, became: str) -> None:
    """What came from the one before is known by it, and what could be made with it is to be replaced."""
    await queries.name_key(connection, key=was)
    await queries.want_other_node_tokens(connection)
    await queries.tell_key_change(connection, was=was, became=became)


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
            await _change_key(connection, was=in_use, became=key_id)
        return True


async def master_key_status(database: Database) -> MasterKeyStatus | None:
    """None: no process has said yet what it has. Raises DatabaseUnavailableError."""
    async with database.connection() as connection:
        row = await queries.master_key_status(connection, seconds=HOLDER_SECONDS)
    return None if row is None else MasterKeyStatus(**dict(row))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What came of sealing some webhooks' secrets again."""

    webhooks: int
    unopened: int
    """Webhooks with a secret that does not open: it stays as it is."""
    next_after: UUID | None
    """Where to go on; None: these were the last."""


async def seal_webhooks_again(
    database: Database,
    seal_again: Callable[[bytes, UUID], bytes | None],
    *,
    key_id: str,
    known: Iterable[str],
    after: UUID,
    epoch: int,
    most: int = _SEALED_AT_ONCE,
) -> Sealed:
    """Secrets that are sealed with another of the known keys, of some webhooks after an id.

    `seal_again` answers None for what does not open. Raises DatabaseUnavailableError.
    """
    others = sorted(set(known) - {key_id})
    sealed = unopened = 0
    async with database.transaction() as connection:
        if not await queries.hold_epoch(connection, epoch=epoch):
            return Sealed(webhooks=0, unopened=0, next_after=None)
        found = [row async for row in queries.webhooks_sealed_otherwise(connection, others=others, after=after, most=most)]
        for row in found:
            before = row["sealed_secret"], row["sealed_old_secret"]
            fresh = [seal_again(each, row["id"]) if each is not None and each[:4].hex() in others else each for each in before]
            unopened += any(new is None and each is not None for new, each in zip(fresh, before, strict=True))
            secret, old = (each if new is None else new for new, each in zip(fresh, before, strict=True))
            if (secret, old) != before:
                await queries.seal_webhook_again(
                    connection, id=row["id"], before=before[0], before_old=before[1], sealed=secret, sealed_old=old
                )
                sealed += 1
    return Sealed(webhooks=sealed, unopened=unopened, next_after=found[-1]["id"] if len(found) == most else None)
