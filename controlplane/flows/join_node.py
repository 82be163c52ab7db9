"""A node joins: a one-time token becomes an identity."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from uuid_utils.compat import uuid7

from controlplane.postgres_store.audit import Actor
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.joining import JoinRefusal, insert_join_token, use_join_token
from controlplane.wire.redacted import Redacted
from controlplane.wire.token_format import RANDOM_BYTES_NEEDED, make_token, parse_token

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedNode:
    node_id: str
    node_token: Redacted
    region: str
    replaced: str | None
    """The id of the node whose place it took."""


async def make_join_token(
    database: Database,
    *,
    region: str,
    node_name: str | None,
    ttl_seconds: int,
    actor: Actor,
    replaces: str | None = None,
    force: bool = False,
) -> tuple[Redacted, datetime]:
    """A one-time token for one node of that region, and when it expires.

    With `replaces`, the id of a node: for one that takes its place, with `force` also while it is in service. Raises ConflictError
    for an unknown region or node.
    """
    token, parsed = make_token("join", os.urandom(RANDOM_BYTES_NEEDED))
    expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
    await insert_join_token(
        database,
        token_id=parsed.token_id,
        sha256=parsed.sha256,
        region=region,
        node_name=node_name,
        replaces=replaces,
        force=force,
        actor=actor,
        expires_at=expires_at,
    )
    return token, expires_at


async def join_node(
    database: Database, *, join_token: str, nonce: str, name: str, is_in_service: Callable[[str], bool]
) -> JoinedNode | JoinRefusal:
    """Spend a join token. `is_in_service` is asked of a node that is to be replaced. Raises DatabaseUnavailableError."""
    parsed = parse_token(join_token)
    if parsed is None or parsed.kind != "join":
        return JoinRefusal.TOKEN_UNKNOWN
    node_token, node_parsed = make_token("node", os.urandom(RANDOM_BYTES_NEEDED))
    outcome = await use_join_token(
        database,
        token_id=parsed.token_id,
        sha256=parsed.sha256,
        nonce=nonce,
        name=name,
        node_id=uuid7(),
        node_token_sha256=node_parsed.sha256,
        now=datetime.now(UTC),
        is_in_service=is_in_service,
    )
    if isinstance(outcome, JoinRefusal):
        log.warning("node_join_refused", node=name, reason=outcome.value, join_token_id=parsed.token_id)
        return outcome
    log.info("node_joined", node=name, region=outcome.region, node_id=str(outcome.node_id), replaced=outcome.replaced)
    return JoinedNode(node_id=str(outcome.node_id), node_token=node_token, region=outcome.region, replaced=outcome.replaced)
