"""A node joins: a one-time token becomes an identity."""

from __future__ import annotations

import os
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


async def make_join_token(
    database: Database, *, region: str, node_name: str | None, ttl_seconds: int, actor: Actor
) -> tuple[Redacted, datetime]:
    """A one-time token for one node of that region, and when it expires. Raises ConflictError for an unknown region."""
    token, parsed = make_token("join", os.urandom(RANDOM_BYTES_NEEDED))
    expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
    await insert_join_token(
        database,
        token_id=parsed.token_id,
        sha256=parsed.sha256,
        region=region,
        node_name=node_name,
        actor=actor,
        expires_at=expires_at,
    )
    return token, expires_at


async def join_node(database: Database, *, join_token: str, nonce: str, name: str) -> JoinedNode | JoinRefusal:
    """Spend a join token. Raises DatabaseUnavailableError."""
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
    )
    if isinstance(outcome, JoinRefusal):
        log.warning("node_join_refused", node=name, reason=outcome.value, join_token_id=parsed.token_id)
        return outcome
    log.info("node_joined", node=name, region=outcome.region, node_id=str(outcome.node_id))
    return JoinedNode(node_id=str(outcome.node_id), node_token=node_token, region=outcome.region)
