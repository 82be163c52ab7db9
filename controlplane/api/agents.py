"""What agents call: join, heartbeat, leave. A node token reads and writes its own node alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import msgspec
from litestar import Request, Response, asgi, post
from litestar.types import ASGIApp, Receive, Scope, Send

from controlplane.api.access import answer, decode_json, read_json, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import is_in_service
from controlplane.api.problems import ProblemError, problem_for
from controlplane.api.raw_http import bearer_token, read_body, send_answer, send_problem
from controlplane.api.services import Services
from controlplane.api.translate import to_denials_delta, to_report
from controlplane.fleet.intent import must_end
from controlplane.fleet.model import Node
from controlplane.flows.accept_heartbeat import accept_goodbye, accept_heartbeat, authenticate_node
from controlplane.flows.join_node import join_node
from controlplane.flows.node_tokens import confirm_token
from controlplane.postgres_store.joining import JoinRefusal
from controlplane.wire.agent_api import Heartbeat, HeartbeatReply, JoinReply, JoinRequest, LeaveRequest, NodeSecret

_BODY_LIMIT_BYTES = 64 * 1024
_encoder = msgspec.json.Encoder()
_JSON = b"application/json"

_HEARTBEAT = described(
    "heartbeat",
    tag="agents",
    summary="What a node is; the answer is what it should be",
    scope=None,
    node_token=True,
    body=Heartbeat,
    answer=HeartbeatReply,
    problems=("method_not_allowed",),
)

_REFUSED = {
    JoinRefusal.TOKEN_UNKNOWN: "The join token is unknown: check that it was copied whole.",
    JoinRefusal.TOKEN_EXPIRED: "The join token has expired: make a new one.",
    JoinRefusal.TOKEN_USED: "The join token was used already: it is good for one node only.",
    JoinRefusal.NAME_MISMATCH: "The join token was made for a node of another name.",
    JoinRefusal.NAME_TAKEN: "A node of that name is in the fleet already: choose another, or get a token that replaces it.",
    JoinRefusal.REPLACED_IN_SERVICE: "The node that this one replaces reports: drain it first, or have the token made with force.",
}


@post(
    "/api/v1/agents/join",
    status_code=200,
    opt=described(
        "join",
        tag="agents",
        summary="A one-time join token becomes a node id and a node token",
        scope=None,
        node_token=False,
        body=JoinRequest,
        answer=JoinReply,
        problems=("join_refused", "store_unavailable"),
    ),
)
async def join(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A one-time join token becomes a node id and a node token."""
    services = services_of(request)
    body = await read_json(request, JoinRequest)
    outcome = await join_node(
        services.database,
        join_token=body.join_token,
        nonce=body.join_nonce,
        name=body.name,
        is_in_service=partial(is_in_service, services),
    )
    if isinstance(outcome, JoinRefusal):
        raise ProblemError("join_refused", _REFUSED[outcome])
    await services.directory.refresh()
    if outcome.replaced is not None:
        await services.keeper.forget(outcome.replaced)
    return answer(
        JoinReply(
            node_id=outcome.node_id,
            node_token=outcome.node_token.reveal(),
            region=outcome.region,
            realm=services.settings.realm,
            interval_seconds=services.keeper.view.interval_seconds,
        )
    )


@post(
    "/api/v1/agents/leave",
    status_code=204,
    opt=described("leave", tag="agents", summary="Goodbye", scope=None, node_token=True, body=LeaveRequest, status=204),
)
async def leave(request: Request[Any, Any, Any]) -> None:
    """Goodbye."""
    services = services_of(request)
    node, _ = await authenticate_node(services.directory, bearer_token(request.scope))
    body = await read_json(request, LeaveRequest)
    accept_goodbye(services.keeper, node, boot_id=body.boot_id, sequence=body.sequence, reason=body.reason)


def make_heartbeat_route(services: Services) -> ASGIApp:
    """POST /agents/heartbeat as a plain ASGI route: with 10,000 nodes there are 5,000 of them a second."""

    @asgi("/api/v1/agents/heartbeat", copy_scope=False, opt=_HEARTBEAT)
    async def heartbeat(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = cast("str", scope["state"].get("request_id", ""))
        try:
            if scope.get("method") != "POST":
                raise ProblemError("method_not_allowed", "Heartbeats are sent with POST.", headers=[("allow", "POST")])
            node, shown = await authenticate_node(services.directory, bearer_token(scope))
            beat = decode_json(await read_body(receive, limit_bytes=_BODY_LIMIT_BYTES), Heartbeat)
        except Exception as error:
            problem = problem_for(error, request_id)
            services.metrics.heartbeats.labels(problem.problem.code).inc()
            await send_problem(send, problem, request_id)
            return
        versions, drifted = services.secrets.check(node, [(each.version, each.digest) for each in beat.secrets])
        now = time.time() - services.directory.clock_offset_seconds  # PostgreSQL's clock, so that all replicas judge alike
        report = to_report(beat, received_unix=now, secret_versions=versions, secrets_drifted=drifted)
        taken = accept_heartbeat(services.keeper, node, report)
        services.metrics.heartbeats.labels("taken" if taken else "stale").inc()
        await confirm_token(services.database, services.directory, node, shown=shown)
        reply = _reply(services, node, now, shown=shown, with_secrets=drifted, denied_up_to=beat.denied_up_to)
        await send_answer(send, 200, [(b"content-type", _JSON), (b"cache-control", b"no-store")], _encoder.encode(reply))

    return cast("ASGIApp", heartbeat)


def _reply(services: Services, node: Node, now: float, *, shown: bytes, with_secrets: bool, denied_up_to: int) -> HeartbeatReply:
    """What the node should be now. `shown` is the hash of the token that it showed."""
    next_token = services.node_tokens.offered(node, shown=shown)
    return HeartbeatReply(
        interval_seconds=services.keeper.view.interval_seconds,
        intent=node.intent.value,
        realm=services.settings.realm,
        secret_versions=list(node.wanted_versions),
        secrets=[
            # One whose master key is missing here stays wanted: the agent keeps what it has of it.
            NodeSecret(version=version, secret=services.secrets.secret(node, version).reveal())
            for version in node.wanted_versions
            if version not in node.unknown_versions
        ]
        if with_secrets
        else None,
        server_at=now,
        denied=to_denials_delta(services.denials.delta(node.node_id, denied_up_to)),
        wanted_at=0.0 if (known := services.directory.confirmed_database_at) is None else known.timestamp(),
        end_allocations=node.drain is not None and must_end(node.drain, now=datetime.fromtimestamp(now, UTC)),
        node_token=None if next_token is None else next_token.reveal(),
        coturn_generation=node.wanted_generation,
    )
