"""The leader's pass over what was reported: whose is it, what of it is not counted yet, and who has to be told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.events import FleetEvent, write_events
from controlplane.postgres_store.outbox import tell
from controlplane.postgres_store.usage import (
    CredentialRecord,
    Settled,
    count_allocations,
    due_pending_allocations,
    find_credentials,
    find_rows_by_key,
    fold_deltas,
    in_transaction,
    is_newest_term,
    projects_that_listen,
    settle,
    waiting_allocations,
)
from controlplane.telemetry.metrics import Metrics

_MOST = 1000
_FEWEST = 20
"""Allocations in a transaction: half as many after one that took too long, twice as many after one that went well."""
_DELTAS_PER_ALLOCATION = 5
_BATCHES_A_RUN = 30
"""So that a run ends, however much is reported meanwhile: the next one goes on."""
_GIVE_UP = timedelta(days=2)
"""A record that is not there by then lies on a disk that is lost, or there never was one."""
_LOOK_AGAIN_SHARE = 0.25
"""Of the time that an allocation has waited already."""
_LOOK_AGAIN_AT_MOST = timedelta(minutes=10)

log = structlog.get_logger()


class UsageFolder:
    """One per term. It alone adds to the sums, so nothing is added twice and nobody waits for anybody."""

    def __init__(self, database: Database, metrics: Metrics, *, epoch: int) -> None:
        self._database = database
        self._metrics = metrics
        self._epoch = epoch
        self._limit = _MOST

    async def fold(self) -> int:
        """Until nothing is left, within bounds. Returns how many allocations were counted. Raises DatabaseUnavailableError."""
        counted = 0
        for _ in range(_BATCHES_A_RUN):
            try:
                counted_now, more = await in_transaction(self._database, self._batch)
            except DatabaseUnavailableError:
                self._limit = max(_FEWEST, self._limit // 2)
                raise
            self._limit = min(_MOST, self._limit * 2)
            self._metrics.allocations_counted.inc(counted_now)
            counted += counted_now
            if not more:
                break
        for state, count in (await waiting_allocations(self._database)).items():
            self._metrics.allocations_waiting.labels(state).set(count)
        return counted

    async def _batch(self, connection: Any) -> tuple[int, bool]:
        """(how many were counted, whether there is more). What is counted and what is summed up is committed together."""
        if not await is_newest_term(connection, self._epoch):
            return 0, False
        await find_rows_by_key(connection)
        limit = self._limit
        settled = await self._settle(connection, limit)
        counted, news = await count_allocations(connection, limit=limit)
        await _tell(connection, news)
        deltas = await fold_deltas(connection, limit=limit * _DELTAS_PER_ALLOCATION)
        return counted, limit in {settled, counted} or deltas == limit * _DELTAS_PER_ALLOCATION

    async def _settle(self, connection: Any, limit: int) -> int:
        """Look up the credentials of those that wait for a record."""
        pending = await due_pending_allocations(connection, limit=limit)
        if not pending:
            return 0
        known = await find_credentials(connection, {row["credential_id"] for row in pending})
        settled, events = [], []
        for row in pending:
            decided = _decide(row, known.get(row["credential_id"]))
            settled.append(decided)
            if decided.matched == "foreign":
                events.append(_foreign(row, known.get(row["credential_id"])))
        await settle(connection, settled)
        if events:
            await write_events(connection, events, epoch=self._epoch)
            log.warning("usage_foreign", allocations=len(events))
        return len(pending)


def _decide(row: Mapping[str, Any], credential: CredentialRecord | None) -> Settled:
    asked_at: datetime = row["asked_at"]
    waited: timedelta = asked_at - row["first_reported_at"]
    if credential is None:
        matched = "foreign" if waited >= _GIVE_UP else "pending"
        again = min(timedelta(seconds=1) + waited * _LOOK_AGAIN_SHARE, _LOOK_AGAIN_AT_MOST)
        return Settled(started_at=row["started_at"], id=row["id"], matched=matched, match_at=asked_at + again)
    if str(row["node_id"]) not in credential.node_ids:
        return Settled(started_at=row["started_at"], id=row["id"], matched="foreign", match_at=asked_at)
    return Settled(
        started_at=row["started_at"],
        id=row["id"],
        matched="matched",
        match_at=asked_at,
        project_id=credential.project_id,
        room=credential.room,
        initiator_client=credential.initiator_client,
        receiver_client=credential.receiver_client,
    )


def _foreign(row: Mapping[str, Any], credential: CredentialRecord | None) -> FleetEvent:
    """A node tells of a credential that it never got a password for: its clock, its token or its agent is not what it should be."""
    return FleetEvent(
        happened_at=row["asked_at"],
        kind="usage.foreign",
        region=row["region"],
        node_id=row["node_id"],
        was=None,
        became=None,
        reason="record_missing" if credential is None else "other_node",
        detail=f"allocation {row['id']}, credential {row['credential_id']}",
    )


async def _tell(connection: Any, news: list[Any]) -> None:
    """Webhooks hear of a begin and of an end once each, in the transaction that counts them."""
    listening = await projects_that_listen(connection, {row["project_id"] for row in news}) if news else set[UUID]()
    for row in news:
        if row["project_id"] not in listening:
            continue
        about = _about(row)
        if row["is_new"]:
            await tell(connection, "allocation.started", about, happened_at=row["started_at"], project_id=row["project_id"])
        if row["is_newly_ended"]:
            ended = about | {
                "ended_at": row["ended_at"],
                "end_reason": row["end_reason"],
                "bytes_from_client": row["bytes_from_client"],
                "bytes_to_client": row["bytes_to_client"],
            }
            await tell(connection, "allocation.ended", ended, happened_at=row["ended_at"], project_id=row["project_id"])


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "allocation_id": row["id"],
        "credential_id": row["credential_id"],
        "region": row["region"],
        "node_id": row["node_id"],
        "room": row["room"],
        "initiator_client": row["initiator_client"],
        "receiver_client": row["receiver_client"],
        "transport": row["transport"],
        "started_at": row["started_at"],
    }
