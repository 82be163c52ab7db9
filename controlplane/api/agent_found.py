"""What agents find on their hosts: taken, kept, and put beside each other for operators."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import msgspec
from litestar import Request, post

from controlplane.api.access import read_json, services_of
from controlplane.api.describe import described
from controlplane.api.peer import peer_address
from controlplane.api.problems import ProblemError
from controlplane.api.raw_http import bearer_token
from controlplane.api.services import Services
from controlplane.flows.accept_heartbeat import authenticate_node
from controlplane.postgres_store.errors import ConflictError, DatabaseUnavailableError
from controlplane.postgres_store.findings import KeptFindings, findings_of, put_findings
from controlplane.wire.found_api import Found, FoundView


@post(
    "/api/v1/agents/found",
    status_code=204,
    opt=described(
        "report_found",
        tag="agents",
        summary="What the agent found on its host",
        scope=None,
        node_token=True,
        body=Found,
        status=204,
        problems=("store_unavailable",),
    ),
)
async def report_found(request: Request[Any, Any, Any]) -> None:
    """What the agent found on its host."""
    services = services_of(request)
    node, _ = await authenticate_node(services.directory, bearer_token(request.scope))
    body = await read_json(request, Found)
    source = peer_address(request.scope, services.settings.trusted_proxies)
    try:
        await put_findings(services.database, node.node_id, body, source_address=source)
    except ConflictError:
        raise ProblemError("token_invalid", "The node was forgotten.") from None


async def found_on(services: Services, node_id: str) -> FoundView | None:
    """None: nothing was told, or it cannot be read now."""
    if services.directory.failing:
        return None
    try:
        kept = await findings_of(services.database, node_id)
    except (DatabaseUnavailableError, msgspec.MsgspecError):  # the latter: of another release
        return None
    return None if kept is None else _view(kept)


def _view(kept: KeptFindings) -> FoundView:
    found = kept.found
    told = found.external_address or found.relay_address
    return FoundView(
        reported_at=kept.reported_at,
        examined_at=datetime.fromtimestamp(found.examined_at, UTC),
        listen_address=found.listen_address,
        relay_address=found.relay_address,
        external_address=found.external_address,
        seen_address=found.seen_address,
        source_address=kept.source_address,
        is_behind_nat=(found.seen_address or told) != found.relay_address,
        hint=hint(told, seen=found.seen_address, source=kept.source_address),
        tls_offered=found.tls_offered,
        tls_fault=found.tls_fault,
        findings=found.findings,
    )


def hint(told: str, *, seen: str | None, source: str | None) -> str | None:
    """The STUN server is asked from the relay's own address; the agent's calls may well take another way."""
    if seen is not None:
        if seen == told:
            return None
        return f"A STUN server outside sees this relay as {seen}, and clients are told {told}: they cannot reach what it relays."
    if source is None or not _both_public(told, source) or source == told:
        return None
    return f"The agent's calls come from {source}, and clients are told {told}. Set a STUN server to have the address verified."


def _both_public(one: str, other: str) -> bool:
    """And of one family: else they have nothing to say about each other."""
    try:
        first, second = ip_address(one), ip_address(other)
    except ValueError:
        return False
    return first.is_global and second.is_global and first.version == second.version
