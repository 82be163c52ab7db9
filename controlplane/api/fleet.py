"""The fleet for operators and dashboards: what is, with its reason."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery

from controlplane.api.access import answer, principal_of, read_json, require_scope, services_of
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.api.translate import count_by_health, to_fleet_region, to_node_detail, to_node_view
from controlplane.fleet.model import Health, Region
from controlplane.fleet.view import NodeState, nodes_by_region
from controlplane.flows.join_node import make_join_token
from controlplane.postgres_store.directory import put_region
from controlplane.postgres_store.errors import ConflictError
from controlplane.wire.fleet_api import (
    Degraded,
    FleetRegionList,
    FleetRegionView,
    JoinTokenBody,
    JoinTokenView,
    NodeList,
    OpenProblem,
    Overview,
    RegionBody,
    Totals,
    is_slug,
)
from controlplane.wire.problem import FieldError

_READ: dict[str, Any] = {"scope": "fleet:read"}
_OPERATE: dict[str, Any] = {"scope": "fleet:operate"}
_WORST_SHOWN = 10
_PAGE_DEFAULT = 100
_PAGE_MAX = 500


@get("/api/v1/fleet/overview", guards=[require_scope], opt=_READ)
async def overview(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    states = services.keeper.view.states(now=time.monotonic())
    regions = _regions(services, states)
    worst = sorted(
        states, key=lambda state: (state.eligible and state.verdict.health is Health.UP, -state.utilisation, state.node.name)
    )
    return answer(
        Overview(
            at=datetime.now(UTC),
            totals=Totals(
                regions=len(regions),
                operational_regions=sum(region.is_operational for region in regions),
                nodes=len(states),
                nodes_by_health=count_by_health(states),
                eligible_nodes=sum(state.eligible for state in states),
                allocations=sum(region.allocations for region in regions),
                bits_per_second=sum(region.bits_per_second for region in regions),
            ),
            regions=regions,
            worst_nodes=[to_node_view(state) for state in worst[:_WORST_SHOWN]],
            problems=_problems(services, regions, states),
            credentials_per_second=round(services.issue_rate.per_second(), 2),
            degraded=_degraded(services),
        )
    )


@get("/api/v1/fleet/regions", guards=[require_scope], opt=_READ)
async def list_fleet_regions(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    regions = _regions(services, services.keeper.view.states(now=time.monotonic()))
    return answer(FleetRegionList(items=regions, next_cursor=None))


@put("/api/v1/fleet/regions/{slug:str}", guards=[require_scope], opt=_OPERATE)
async def put_fleet_region(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    """Make a region, or change its name and place."""
    services = services_of(request)
    if not is_slug(slug):
        raise ProblemError("fields_invalid", "A region's slug is 1 to 63 lower-case letters, digits and '-'.")
    body = await read_json(request, RegionBody)
    region = Region(
        slug=slug, name=body.name, city=body.city, country=body.country, latitude=body.latitude, longitude=body.longitude
    )
    await put_region(services.database, region)
    await services.directory.refresh()
    states = [state for state in services.keeper.view.states(now=time.monotonic()) if state.node.region == slug]
    return answer(to_fleet_region(region, states, is_operational=_is_operational(services, slug)))


@get("/api/v1/fleet/nodes", guards=[require_scope], opt=_READ)
async def list_nodes(
    request: Request[Any, Any, Any],
    region: FromQuery[str | None] = None,
    health: FromQuery[str | None] = None,
    limit: FromQuery[int] = _PAGE_DEFAULT,
    cursor: FromQuery[str] = "",
) -> Response[bytes]:
    """By name; `region` and `health` filter; `cursor` is the name after which the page begins."""
    wrong = []
    if not 1 <= limit <= _PAGE_MAX:
        wrong.append(FieldError(field="limit", message=f"must be a whole number from 1 to {_PAGE_MAX}"))
    if health is not None and health not in set(Health):
        wrong.append(FieldError(field="health", message=f"must be one of {', '.join(Health)}"))
    if wrong:
        raise ProblemError("fields_invalid", f"{wrong[0].field} {wrong[0].message}.", errors=wrong)
    states = [
        state
        for state in sorted(services_of(request).keeper.view.states(now=time.monotonic()), key=lambda state: state.node.name)
        if (region is None or state.node.region == region)
        and (health is None or state.verdict.health == health)
        and state.node.name > cursor
    ]
    page = states[:limit]
    return answer(
        NodeList(items=[to_node_view(state) for state in page], next_cursor=page[-1].node.name if len(states) > len(page) else None)
    )


@get("/api/v1/fleet/nodes/{node_id:str}", guards=[require_scope], opt=_READ)
async def show_node(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    """By id, or by name."""
    view = services_of(request).keeper.view
    node = view.nodes.get(node_id) or next((node for node in view.nodes.values() if node.name == node_id), None)
    if node is None:
        raise ProblemError("not_found", "There is no node of that id or name.")
    return answer(to_node_detail(view.state(node, now=time.monotonic())))


@post("/api/v1/fleet/join-tokens", guards=[require_scope], opt=_OPERATE)
async def create_join_token(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A one-time token for one new node."""
    body = await read_json(request, JoinTokenBody)
    services = services_of(request)
    try:
        token, expires_at = await make_join_token(
            services.database,
            region=body.region,
            node_name=body.name,
            ttl_seconds=body.ttl_seconds,
            created_by=principal_of(request).token_id,
        )
    except ConflictError:
        raise ProblemError(
            "region_unknown", "There is no region of that slug: make it first, with PUT /fleet/regions/SLUG."
        ) from None
    return answer(JoinTokenView(join_token=token.reveal(), region=body.region, name=body.name, expires_at=expires_at), status=201)


def _regions(services: Services, states: list[NodeState]) -> list[FleetRegionView]:
    grouped = nodes_by_region(states)
    view = services.keeper.view
    return [
        to_fleet_region(view.regions[slug], grouped.get(slug, []), is_operational=_is_operational(services, slug))
        for slug in sorted(view.regions)
    ]


def _is_operational(services: Services, slug: str) -> bool:
    """As GET /regions says it: by the table that selection reads."""
    table = services.keeper.view.table.regions.get(slug)
    return table is not None and bool(table.contenders)


def _degraded(services: Services) -> Degraded:
    keeper = services.keeper
    now = time.monotonic()
    return Degraded(
        view_held=keeper.view.silence_held(now),
        redis_unreachable=not keeper.seeing,
        database_unreachable=services.directory.failing,
        journal_failing=services.journal.failure is not None,
        journal_backlog_bytes=services.journal.backlog_bytes,
    )


def _problems(services: Services, regions: list[FleetRegionView], states: list[NodeState]) -> list[OpenProblem]:
    """What a person should look at, the gravest first."""
    found = [
        OpenProblem(severity="critical", what="No node of the region takes new clients.", region=region.slug)
        for region in regions
        if region.nodes and not region.is_operational
    ]
    degraded = _degraded(services)
    if degraded.journal_failing:
        found.append(OpenProblem(severity="critical", what="The journal cannot be written: issuing answers 503."))
    if degraded.journal_backlog_bytes * 2 > services.settings.journal_max_bytes:
        found.append(OpenProblem(severity="critical", what="The journal is more than half full: PostgreSQL must take it."))
    if degraded.redis_unreachable:
        found.append(OpenProblem(severity="warning", what="Redis does not answer: replicas do not see each other's heartbeats."))
    if degraded.database_unreachable:
        found.append(OpenProblem(severity="warning", what="PostgreSQL does not answer: issues wait in the journal."))
    for state in states:
        if state.verdict.health in {Health.DOWN, Health.SUSPECT}:
            found.append(
                OpenProblem(
                    severity="warning",
                    what=f"{state.node.name} is {state.verdict.health}: {state.verdict.detail or state.verdict.reason}",
                    region=state.node.region,
                    node_id=state.node.node_id,
                )
            )
        elif state.record is not None and state.record.report.secrets_drifted:
            found.append(
                OpenProblem(
                    severity="warning",
                    what=f"{state.node.name} does not hold the secrets it should.",
                    region=state.node.region,
                    node_id=state.node.node_id,
                )
            )
    return found
