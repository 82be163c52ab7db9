"""Ending credentials: by id, by room, by client, and all of a project.

A rule is made first, and covers also what is not recorded yet. Then what is recorded is denied, in short transactions. If this
process dies in between, the leader goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from controlplane.fleet.allocation import issue_window
from controlplane.flows.denials import Denials
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.postgres_store.audit import Actor, write_audit
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.revocation import (
    RuleKind,
    Rules,
    apply_some,
    deny_in_use,
    insert_rules,
    lock_revocations,
    owners_of,
    tidy,
    unapplied_rules,
)
from controlplane.postgres_store.tenants import Project

_FIRST_CHUNK = 1000
_CHUNK = 5000
_APPLY_SECONDS = 2.0
"""How long a call denies by itself; the leader does the rest."""
_ARRIVAL_SECONDS = 1.0
"""Within which a record is visible after its issue."""
_ARRIVAL_POLL_SECONDS = 0.05
_LEFT_BEHIND_SECONDS = 3.0
"""A replica that has not finished after this time has died or given up."""
_LONGEST_TTL = timedelta(days=1)

log = structlog.get_logger()


class Revoker:
    """What the API revokes with."""

    def __init__(self, database: Database, denials: Denials) -> None:
        self._database = database
        self._denials = denials

    async def revoke_ids(self, project: Project, actor: Actor, credential_ids: Sequence[UUID]) -> bool:
        """Whether at least one of them is the project's. Others' ids change nothing.

        An id whose record may still be on its way is waited for, and denied whenever it arrives.
        """
        wanted = list(dict.fromkeys(credential_ids))
        async with self._database.transaction() as connection:
            await lock_revocations(connection)
            owners = await owners_of(connection, wanted)
            own = [each for each in wanted if owners.get(each) == project.project_id]
            on_their_way = [each for each in wanted if each not in owners and _may_arrive(each)]
            if not own and not on_their_way:
                return False
            rules = await _make_rules(connection, project, actor, "credential", [str(each) for each in (*own, *on_their_way)])
        await self._apply(rules)
        return bool(own) or await self._arrives(project, on_their_way)

    async def revoke_named(self, project: Project, actor: Actor, kind: RuleKind, value: str) -> None:
        """All that the project issued until now for that room or client. What is issued after the return is not covered."""
        async with self._database.transaction() as connection:
            await lock_revocations(connection)
            rules = await _make_rules(connection, project, actor, kind, [value])
        await self._apply(rules)
        behind = (rules.revoked_at - datetime.now(UTC)).total_seconds()  # our clock may be behind PostgreSQL's
        await asyncio.sleep(min(max(0.0, behind), 1.0))

    async def _apply(self, rules: Rules) -> None:
        until = time.monotonic() + _APPLY_SECONDS
        try:
            chunk = _FIRST_CHUNK
            while not await apply_some(self._database, rules, chunk=chunk) and time.monotonic() < until:
                chunk = _CHUNK
        except DatabaseUnavailableError as error:
            log.warning("revocation_left_to_the_leader", kind=rules.kind, reason=str(error))
        await self._denials.read()

    async def _arrives(self, project: Project, credential_ids: Sequence[UUID]) -> bool:
        until = time.monotonic() + _ARRIVAL_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(_ARRIVAL_POLL_SECONDS)
            async with self._database.connection() as connection:
                owners = await owners_of(connection, credential_ids)
            if owners:
                await self._denials.read()
                return project.project_id in owners.values()
        return False


async def revoke_project(connection: Any, project_id: UUID, actor: Actor) -> None:
    """All that a project issued, as part of its deletion's transaction. The leader denies what is recorded, within seconds.

    Records wait for that transaction, so it has to be a short one.
    """
    await lock_revocations(connection)
    await insert_rules(
        connection, project_id=project_id, kind="project", values=[""], at=datetime.now(UTC), token_id=actor.token_id
    )


async def _make_rules(connection: Any, project: Project, actor: Actor, kind: RuleKind, values: Sequence[str]) -> Rules:
    rules = await insert_rules(
        connection,
        project_id=project.project_id,
        kind=kind,
        values=values,
        at=datetime.now(UTC),
        token_id=actor.token_id,
    )
    await write_audit(
        connection,
        actor,
        "credential.revoke",
        f"{len(values)} credentials" if len(values) > 1 else values[0] if kind == "credential" else f"{kind} {values[0]}",
        after={kind: values},
        organization_id=project.organization_id,
        project_id=project.project_id,
    )
    return rules


def _may_arrive(credential_id: UUID) -> bool:
    """Whether it could be an id of ours whose record is not there yet: a UUIDv7 of the last 24 hours."""
    window, now = issue_window(credential_id), datetime.now(UTC)
    return window is not None and window[0] <= now and window[1] >= now - _LONGEST_TTL


class RevocationKeeper:
    """The leader's part: it finishes what a replica began, ends what agents told of late, and clears up."""

    def __init__(self, database: Database, keeper: FleetKeeper) -> None:
        """`database` needs a long deadline for statements: a deleted project may have millions of records."""
        self._database = database
        self._keeper = keeper

    async def enforce(self) -> int:
        """How many credentials in use were denied. Raises DatabaseUnavailableError."""
        for rules in await unapplied_rules(self._database, older_seconds=_LEFT_BEHIND_SECONDS):
            while not await apply_some(self._database, rules, chunk=_CHUNK):
                pass
            log.info("revocation_finished", kind=rules.kind, project_id=str(rules.project_id))
        return await deny_in_use(self._database, chunk=_CHUNK)

    async def tidy(self) -> None:
        """Raises DatabaseUnavailableError."""
        records = self._keeper.view.records()
        await tidy(self._database, {node_id: record.report.denied_up_to for node_id, record in records.items()})
