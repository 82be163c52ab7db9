"""POST /credentials/ice: the hot path. A plain ASGI route, so schema, 405, 413, headers and metrics are its own job."""

from __future__ import annotations

import time
from typing import cast
from urllib.parse import parse_qs

import msgspec
from litestar import asgi
from litestar.types import ASGIApp, Receive, Scope, Send

from controlplane.api.decode_ice import BODY_LIMIT_BYTES, decode_ice
from controlplane.api.describe import described
from controlplane.api.limits import limit_project, limit_token
from controlplane.api.peer import peer_address
from controlplane.api.problems import ProblemError, problem_for
from controlplane.api.raw_http import bearer_token, header, read_body, send_answer, send_problem
from controlplane.api.services import Services
from controlplane.fleet.selection import Refusal, Trace
from controlplane.flows.authenticate import Principal, ProjectRequiredError, ProjectUnknownError
from controlplane.flows.issue_ice import Issued
from controlplane.geoip import client_address
from controlplane.postgres_store.tenants import Project
from controlplane.wire.ice_api import IceQueryParameters, IceReply, IceRequest, IceServer, NodeTried, RegionTried, SelectionView

_encoder = msgspec.json.Encoder()

_REFUSED = {
    Refusal.REGION_UNKNOWN: "fixed_region names no region of this fleet: GET /api/v1/regions lists them.",
    Refusal.REGION_DOWN: "No node of the fixed region can take new clients now.",
    Refusal.REGION_SATURATED: "Every node of the fixed region is at its safe capacity.",
    Refusal.FLEET_UNAVAILABLE: "No region has a node that can take new clients now.",
}

_ABOUT = described(
    "issue_credentials",
    tag="credentials",
    summary="ICE credentials on the best healthy relay for the caller",
    scope="credentials:issue",
    in_project=True,
    body=IceRequest,
    body_required=False,
    body_media_types=("application/json", "application/x-www-form-urlencoded"),
    query=IceQueryParameters,
    answer=IceReply,
    problems=(
        "method_not_allowed",
        "region_unknown",
        "region_down",
        "region_saturated",
        "fleet_unavailable",
        "journal_unavailable",
        "quota_reached",
    ),
    headers={
        "X-Turn-Region": "The region's slug.",
        "X-Turn-Node": "The node's id; with servers=2 both, separated by a comma.",
        "X-Turn-Selection": "Why that region.",
        "X-Credential-Id": "Of the record, and the second half of the user name.",
    },
)


def make_ice_route(services: Services) -> ASGIApp:
    """The route, bound to its services."""

    @asgi(["/api/v1/credentials/ice", "/credentials/ice"], copy_scope=False, opt=_ABOUT)
    async def credentials_ice(scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = cast("str", scope["state"].get("request_id", ""))
        try:
            if scope.get("method") != "POST":
                raise ProblemError("method_not_allowed", "Credentials are asked for with POST.", headers=[("allow", "POST")])
            principal = await services.authenticator.authenticate(bearer_token(scope))
            project = _project(services, scope, principal)
            limit_project(services, scope, project)
            if project.project_id in services.quotas.reached:
                raise ProblemError("quota_reached", "The project's live allocations, or what they relay, are at its quota.")
            body = await read_body(receive, limit_bytes=BODY_LIMIT_BYTES)
            issued = await _issue(services, scope, principal, project, body)
        except Exception as error:
            problem = problem_for(error, request_id)
            services.metrics.refusals.labels(problem.problem.code).inc()
            await send_problem(send, problem, request_id)
            return
        services.metrics.issues_of(issued.region, issued.reason.value).inc()
        services.issue_rate.add()
        services.metrics.issue_seconds.observe(time.perf_counter() - started)
        await send_answer(send, 200, _headers(issued), _body(issued))

    return cast("ASGIApp", credentials_ice)


def _project(services: Services, scope: Scope, principal: Principal) -> Project:
    """The project to issue for. Without one the request counts for its token, as those of every other route do."""
    try:
        if not principal.may("credentials:issue"):
            raise ProblemError("scope_missing", "The token lacks the scope credentials:issue.")
        return services.authenticator.project_of(principal, header(scope, b"x-project") or _named_in(scope["query_string"]))
    except (ProblemError, ProjectRequiredError, ProjectUnknownError):
        limit_token(services, scope, principal.token_id)
        raise


async def _issue(services: Services, scope: Scope, principal: Principal, project: Project, body: bytes) -> Issued:
    policy = services.keeper.view.policy
    query = decode_ice(
        body,
        scope["query_string"],
        content_type=header(scope, b"content-type"),
        client_address=client_address(header(scope, b"x-turn-client-ip"), peer_address(scope, services.settings.trusted_proxies)),
        max_ttl_seconds=min(project.max_ttl_seconds, policy.max_ttl_seconds),
        policy=policy,
    )
    if query.explain and not (principal.token.kind == "operator" and principal.may("fleet:read")):
        raise ProblemError("scope_missing", "explain is for operator tokens with the scope fleet:read.")
    outcome = await services.issuer.issue(project, principal.token_id, query)
    if isinstance(outcome, Refusal):
        raise ProblemError(outcome.value, _REFUSED[outcome])
    return outcome


def _named_in(query_string: bytes) -> str | None:
    """`project` in the query, for clients that cannot set a header."""
    if b"project=" not in query_string:
        return None
    return next(iter(parse_qs(query_string.decode("ascii", "replace")).get("project", [])), None)


def _headers(issued: Issued) -> list[tuple[bytes, bytes]]:
    selection = issued.reason.value + ("; degraded" if issued.degraded else "")
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-turn-region", issued.region.encode()),
        (b"x-turn-node", ", ".join(server.node_id for server in issued.servers).encode()),
        (b"x-turn-selection", selection.encode()),
        (b"x-credential-id", issued.credential_id.encode()),
    ]


def _body(issued: Issued) -> bytes:
    first = issued.servers[0]
    ice_servers = [IceServer(urls=first.stun_urls)] if first.stun_urls else []
    ice_servers += [
        IceServer(username=server.credential.username, credential=server.credential.password, urls=server.turn_urls)
        for server in issued.servers
    ]
    return _encoder.encode(
        IceReply(
            ice_servers=ice_servers,
            expires_at=issued.expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            selection=_selection(issued, issued.trace) if issued.trace is not None else msgspec.UNSET,
        )
    )


def _selection(issued: Issued, trace: Trace) -> SelectionView:
    return SelectionView(
        region=issued.region,
        reason=issued.reason.value,
        node_reason=issued.node_reason.value,
        regions=[
            RegionTried(
                region=each.region,
                rtt_milliseconds=each.rtt_milliseconds,
                utilisation=None if each.utilisation == float("inf") else each.utilisation,
                outcome=each.outcome,
            )
            for each in trace.regions
        ],
        nodes=[NodeTried(node_id=each.node_id, utilisation=each.utilisation) for each in trace.nodes],
    )
