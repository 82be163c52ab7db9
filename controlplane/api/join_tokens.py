"""Join tokens: for a new node, or for a new host that takes the place of a node."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post

from controlplane.api.access import actor_of, answer, read_json, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node, is_in_service
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.fleet.model import Node
from controlplane.flows.join_node import make_join_token
from controlplane.postgres_store.errors import ConflictError
from controlplane.wire.fleet_api import JoinTokenBody, JoinTokenView


@post(
    "/api/v1/fleet/join-tokens",
    guards=[require_scope],
    opt=described(
        "create_join_token",
        tag="fleet",
        summary="A one-time token for a new node, or for a new host that takes the place of one",
        scope="fleet:operate",
        body=JoinTokenBody,
        answer=JoinTokenView,
        status=201,
        problems=("region_unknown", "not_found", "conflict"),
    ),
)
async def create_join_token(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = await read_json(request, JoinTokenBody)
    services = services_of(request)
    replaced = _replaced(services, body)
    region = body.region if replaced is None else replaced.region
    if region is None:
        raise ProblemError("fields_invalid", "Say the region of a new node, or which node is replaced.")
    name = body.name if replaced is None else replaced.name
    try:
        token, expires_at = await make_join_token(
            services.database,
            region=region,
            node_name=name,
            replaces=None if replaced is None else replaced.node_id,
            force=body.force,
            ttl_seconds=body.ttl_seconds,
            actor=actor_of(request),
        )
    except ConflictError:
        if replaced is not None:
            raise ProblemError("not_found", "There is no node of that id or name any more.") from None
        raise ProblemError(
            "region_unknown", "There is no region of that slug: make it first, with PUT /fleet/regions/SLUG."
        ) from None
    made = JoinTokenView(
        join_token=token.reveal(),
        region=region,
        name=name,
        replaces=None if replaced is None else replaced.node_id,
        expires_at=expires_at,
    )
    return answer(made, status=201)


def _replaced(services: Services, body: JoinTokenBody) -> Node | None:
    """The node whose place the new one takes; None: a new place. Raises ProblemError."""
    if body.replace is None:
        return None
    if body.region is not None or body.name is not None:
        raise ProblemError("fields_invalid", "A node that replaces another has its region and name: say neither beside it.")
    node = find_node(services, body.replace)
    if is_in_service(services, node.node_id) and not body.force:
        raise ProblemError("conflict", "The node reports: drain it first and wait until it is drained, or say force: true.")
    return node
