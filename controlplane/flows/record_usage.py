"""A usage report: which of it can be believed, whose it is, and what the node may let the holders do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from controlplane.fleet.address_privacy import kept_address
from controlplane.fleet.allocation import Allocation, allocation_id, is_in_time, issue_window
from controlplane.fleet.model import Node
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.usage import (
    CredentialRecord,
    StoredAllocation,
    find_credentials,
    in_transaction,
    upsert_allocations,
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of a report's rows, and the rules of the credentials that are known and good at this node."""

    taken: int
    stale: int
    """Told before, or overtaken by a later report."""
    not_ours: int
    """Of a username that the control plane never made."""
    out_of_time: int
    """They began in the future, or so long ago that they are no longer counted."""
    rules: list[CredentialRecord]


async def record_usage(
    database: Database,
    node: Node,
    allocations: Sequence[Allocation],
    *,
    ask: Collection[UUID],
    now: datetime,
    addresses_from: datetime,
) -> Recorded:
    """Store a report for good. Raises DatabaseUnavailableError, then the whole report may be sent again.

    The node is the one of the token: a node can tell of itself alone. Of an allocation that began before `addresses_from` the
    client's address is not kept: retention has taken it, or is about to, and a late report must not bring it back.
    """
    ours = [each for each in allocations if issue_window(each.credential_id) is not None]
    newest: dict[UUID, Allocation] = {}
    for each in ours:
        key = allocation_id(node.node_id, each)
        if is_in_time(each.started_at, now=now) and (key not in newest or newest[key].revision < each.revision):
            newest[key] = each
    out_of_time = sum(not is_in_time(each.started_at, now=now) for each in ours)
    if out_of_time:
        log.warning("usage_out_of_time", node=node.name, allocations=out_of_time)
    wanted = {each.credential_id for each in newest.values()} | set(ask)

    async def work(connection: Any) -> tuple[int, dict[UUID, CredentialRecord]]:
        known = await find_credentials(connection, wanted)
        good = {key: record for key, record in known.items() if node.node_id in record.node_ids}
        rows = [_row(key, each, good.get(each.credential_id), addresses_from) for key, each in newest.items()]
        taken = await upsert_allocations(connection, rows, node_id=node.node_id, region=node.region) if rows else 0
        return taken, good

    taken, good = await in_transaction(database, work)
    return Recorded(
        taken=taken,
        stale=len(ours) - out_of_time - taken,
        not_ours=len(allocations) - len(ours),
        out_of_time=out_of_time,
        rules=list(good.values()),
    )


def _row(key: UUID, told: Allocation, credential: CredentialRecord | None, addresses_from: datetime) -> StoredAllocation:
    """A credential that is unknown, or of another node, is for the leader to settle: it alone tells of what is wrong."""
    address = None
    if credential is not None and told.started_at >= addresses_from:
        address = kept_address(told.client_address, credential.client_address_policy)
    return StoredAllocation(id=key, told=told, client_address=address, credential=credential)
