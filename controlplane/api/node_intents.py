"""What operators want of a node: cordon, uncordon, drain, undrain, forget."""

from __future__ import annotations

import time
from typing import Any

from litestar import Request, Response, delete, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from controlplane.api.access import actor_of, answer, decode_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node, is_in_service
from controlplane.api.problems import ProblemError
from controlplane.api.translate import to_node_view
from controlplane.fleet.intent import Change
from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.intents import change_intent, forget_node
from controlplane.wire.fleet_api import DrainBody, ForgetQuery, IntentBody, NodeView

_SUMMARIES = {
    Change.CORDON: "Give the node no new clients",
    Change.UNCORDON: "Give a cordoned node new clients again",
    Change.DRAIN: "Take the node out of service without breaking a call before the deadline",
    Change.UNDRAIN: "Put a draining or drained node into service again",
}


def _route(change: Change) -> HTTPRouteHandler:
    kind = DrainBody if change is Change.DRAIN else IntentBody

    @post(
        f"/api/v1/fleet/nodes/{{node_id:str}}/{change}",
        status_code=202,
        name=f"{change}_node",
        guards=[require_scope],
        opt=described(
            f"{change}_node",
            tag="fleet",
            summary=_SUMMARIES[change],
            scope="fleet:operate",
            body=kind,
            answer=NodeView,
            status=202,
            problems=("conflict",),
        ),
    )
    async def handler(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
        services = services_of(request)
        body = decode_json(await request.body() or b"{}", kind)
        drain = body if isinstance(body, DrainBody) else DrainBody()
        try:
            node = await change_intent(
                services.database,
                find_node(services, node_id).node_id,
                change,
                reason=body.reason,
                deadline_seconds=drain.deadline_seconds,
                force=drain.force,
                actor=actor_of(request),
            )
        except ConflictError as error:
            raise ProblemError("conflict", str(error)) from None
        if node is None:
            raise ProblemError("not_found", "There is no node of that id or name.")
        await services.directory.refresh()
        state = services.keeper.view.state(node, now=time.monotonic())
        return answer(to_node_view(state, now=services.directory.database_now()), status=202)

    return handler


INTENT_ROUTES = [_route(change) for change in Change]


@delete(
    "/api/v1/fleet/nodes/{node_id:str}",
    status_code=204,
    guards=[require_scope],
    opt=described(
        "forget_node",
        tag="fleet",
        summary="Forget a node that is gone",
        scope="fleet:operate",
        query=ForgetQuery,
        status=204,
        problems=("conflict",),
    ),
)
async def forget(request: Request[Any, Any, Any], node_id: FromPath[str]) -> None:
    """Its token stops working; its host may join anew."""
    services, query = services_of(request), read_query(request, ForgetQuery)
    node = find_node(services, node_id)
    if is_in_service(services, node.node_id) and not query.force:
        raise ProblemError("conflict", "The node reports: drain it first and wait until it is drained, or say force=true.")
    if await forget_node(services.database, node.node_id, actor=actor_of(request)) is None:
        raise ProblemError("not_found", "There is no node of that id or name.")
    await services.directory.refresh()
    await services.keeper.forget(node.node_id)
