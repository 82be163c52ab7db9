"""Rules of what was revoked, and the denials that carry them to the nodes.

Two locks of PostgreSQL, always taken in this order. Whoever makes a rule waits for the inserts of records under way, and the
later ones see the rule: nothing slips between. Whoever denies holds the other until the commit, so that numbers become
visible in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from controlplane.postgres_store.database import Database, queries
from controlplane.postgres_store.outbox import tell_many

REVOCATION_LOCK = 0x7265766F
_DENIAL_LOCK = 0x64656E79
_LONGEST_TTL = timedelta(days=1)
_GRACE = timedelta(minutes=2)
"""What an expired credential's holder relays may be told by the agent this much later. Still later ones are found when they
are told (`keys_in_use`)."""
_RULE_KEPT = _LONGEST_TTL + timedelta(hours=1)
_TOLD_ONE_BY_ONE = 1000
_FORGOTTEN_DAYS = 30
"""A node that was silent for so long does not return with live allocations."""
_MARGIN_SECONDS = 60.0
"""coturn's clock may be behind PostgreSQL's."""

RuleKind = Literal["credential", "room", "client", "project"]
Reason = Literal["revoked", "quota"]


class Key(NamedTuple):
    """Where a credential's record is."""

    issued_at: datetime
    credential_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one call revoked: all that carries one of the values and was issued until `revoked_at`."""

    rule_ids: tuple[int, ...]
    project_id: UUID
    kind: RuleKind
    values: tuple[str, ...]
    revoked_at: datetime


class Denied(NamedTuple):
    number: int
    node_id: str
    credential_id: str
    expires_at_unix: float


async def lock_revocations(connection: Any) -> None:
    await queries.lock_revocations(connection, key=REVOCATION_LOCK)


async def owners_of(connection: Any, credential_ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """The project of each credential whose record is there."""
    rows = queries.owners_of_credentials(connection, ids=list(credential_ids))
    return {row["id"]: row["project_id"] async for row in rows}


async def insert_rules(
    connection: Any, *, project_id: UUID, kind: RuleKind, values: Sequence[str], at: datetime, token_id: str
) -> Rules:
    """The lock of revocations must be held. They hold from the later of `at` and PostgreSQL's clock."""
    revoked_at = await queries.instant_to_revoke(connection, at=at)
    rows = queries.insert_revocations(
        connection,
        project_id=project_id,
        kind=kind,
        values=list(values),
        revoked_at=revoked_at,
        expires_at=revoked_at + _RULE_KEPT,
        actor_token_id=token_id,
    )
    rule_ids = tuple([row["id"] async for row in rows])
    return Rules(rule_ids=rule_ids, project_id=project_id, kind=kind, values=tuple(values), revoked_at=revoked_at)


async def unapplied_rules(database: Database, *, older_seconds: float) -> list[Rules]:
    async with database.connection() as connection:
        return [
            Rules(
                rule_ids=(row["id"],),
                project_id=row["project_id"],
                kind=row["kind"],
                values=(row["value"],),
                revoked_at=row["revoked_at"],
            )
            async for row in queries.unapplied_revocations(connection, older_seconds=older_seconds)
        ]


async def apply_some(database: Database, rules: Rules, *, chunk: int) -> bool:
    """Deny up to `chunk` of the recorded credentials that the rules cover. True when these were the last."""
    async with database.transaction() as connection:
        keys = await _covered(connection, rules, chunk)
        await deny(connection, keys, reason="revoked")
        if len(keys) < chunk:
            await queries.set_revocations_applied(connection, ids=list(rules.rule_ids))
            return True
        return False


async def _covered(connection: Any, rules: Rules, chunk: int) -> list[Key]:
    common = {"project_id": rules.project_id, "chunk": chunk}
    since = {
        "revoked_at": rules.revoked_at,
        "oldest": rules.revoked_at - _LONGEST_TTL - _GRACE,
        "valid_after": rules.revoked_at - _GRACE,
    }
    match rules.kind:
        case "credential":
            rows = queries.credentials_to_deny_by_id(connection, values=list(rules.values), **common)
        case "room":
            rows = queries.credentials_to_deny_of_room(connection, values=list(rules.values), **common, **since)
        case "client":
            rows = queries.credentials_to_deny_of_client(connection, values=list(rules.values), **common, **since)
        case "project":
            rows = queries.credentials_to_deny_of_project(connection, **common, **since)
    return [Key(row["issued_at"], row["id"]) async for row in rows]


async def deny_in_use(database: Database, *, chunk: int) -> int:
    """Deny the credentials of live allocations that a rule covers and that nothing ends yet; how many."""
    async with database.transaction() as connection:
        keys = [Key(row["issued_at"], row["id"]) async for row in queries.credentials_in_use_to_deny(connection, chunk=chunk)]
        return await deny(connection, keys, reason="revoked")


async def deny(connection: Any, keys: Sequence[Key], *, reason: Reason) -> int:
    """Deny credentials at all their nodes, and tell the webhooks; how many. To deny again changes nothing."""
    if not keys:
        return 0
    await queries.lock_denials(connection, key=_DENIAL_LOCK)
    rows = [
        row
        async for row in queries.deny_credentials(
            connection,
            issued_at=[key.issued_at for key in keys],
            ids=[key.credential_id for key in keys],
            first_at=min(key.issued_at for key in keys),
            last_at=max(key.issued_at for key in keys),
            reason=reason,
        )
    ]
    news = [row for row in rows if row["is_new"]]
    if news:
        await tell_many(connection, "credential.revoked", _events(news, reason), happened_at=news[0]["revoked_at"])
    return len(rows)


def _events(rows: Sequence[Any], reason: Reason) -> list[tuple[UUID, Mapping[str, Any]]]:
    """(project, data) of each event. Many at once are one event a project, with their count alone."""
    if len(rows) > _TOLD_ONE_BY_ONE:
        counted = Counter(row["project_id"] for row in rows)
        return [
            (project_id, {"credential_id": None, "credentials": count, "reason": reason}) for project_id, count in counted.items()
        ]
    return [
        (
            row["project_id"],
            {
                "credential_id": str(row["id"]),
                "credentials": 1,
                "reason": reason,
                "room": row["room"],
                "initiator_client": row["initiator_client"],
                "receiver_client": row["receiver_client"],
                "region": row["region"],
                "issued_at": row["issued_at"],
                "expires_at": row["expires_at"],
            },
        )
        for row in rows
    ]


async def denials_after(database: Database, number: int, *, chunk: int) -> tuple[list[Denied], int]:
    """(the denials with higher numbers, in order, at most `chunk`; the last number that was ever drawn)."""
    async with database.connection() as connection:
        rows = queries.denials_after(connection, number=number, chunk=chunk)
        denied = [
            Denied(row["number"], str(row["node_id"]), str(row["credential_id"]), row["expires_at"].timestamp())
            async for row in rows
        ]
        return denied, int(await queries.last_denial_number(connection))


async def tidy(database: Database, acknowledged: Mapping[str, int]) -> None:
    """Delete denials that their node acknowledged and that end nothing more, and rules that cover nothing more.

    `acknowledged`: per node id, the highest number that it enforces.
    """
    async with database.connection() as connection:
        await queries.delete_settled_denials(
            connection,
            forgotten_days=_FORGOTTEN_DAYS,
            margin_seconds=_MARGIN_SECONDS,
            node_ids=list(acknowledged),
            numbers=list(acknowledged.values()),
        )
        await queries.delete_expired_revocations(connection)
