"""Giving a node's agent its next token, by hand."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.params import FromPath

from controlplane.api.access import actor_of, answer, decode_json, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node, node_detail
from controlplane.api.problems import ProblemError
from controlplane.postgres_store.node_tokens import ask_for_token
from controlplane.wire.fleet_api import IntentBody, NodeDetail


@post(
    "/api/v1/fleet/nodes/{node_id:str}/token/rotate",
    status_code=202,
    guards=[require_scope],
    opt=described(
        "rotate_node_token",
        tag="fleet",
        summary="Give the node's agent a new token",
        scope="fleet:operate",
        body=IntentBody,
        answer=NodeDetail,
        status=202,
    ),
)
async def rotate_node_token(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    services = services_of(request)
    body = decode_json(await request.body() or b"{}", IntentBody)
    found = find_node(services, node_id)
    node = await ask_for_token(services.database, found.node_id, reason=body.reason, actor=actor_of(request))
    if node is None:
        raise ProblemError("not_found", "There is no node of that id or name.")
    await services.directory.refresh()
    return answer(await node_detail(services, node), status=202)
