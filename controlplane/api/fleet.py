"""The fleet for operators and dashboards: what is, with its reason."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Request, Response, get, put
from litestar.params import FromPath

from controlplane.api.access import actor_of, answer, answer_encoded, encode, read_json, read_query, require_scope, services_of
from controlplane.api.agent_found import found_on
from controlplane.api.describe import described
from controlplane.api.evidence import outside_problems, to_evidence
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.api.translate import count_by_health, to_fleet_region, to_node_detail, to_node_view
from controlplane.fleet.coturn_advisories import advisories_of
from controlplane.fleet.model import Health, Node, Region
from controlplane.fleet.view import NodeState, nodes_by_region
from controlplane.postgres_store.directory import put_region
from controlplane.wire.fleet_api import (
    Degraded,
    FleetRegionList,
    FleetRegionView,
    NodeDetail,
    NodeList,
    NodeQuery,
    OpenProblem,
    Overview,
    RegionBody,
    Totals,
    is_slug,
)
from controlplane.wire.rotation_api import SecretQuery

_WORST_SHOWN = 10
_PROBLEMS_SHOWN = 100
_CERTIFICATE_ENDS_SOON = timedelta(days=14)
"""As the agents' alert has it: a renewal is usually tried 30 days before the end."""
_NAMED = 5
"""Nodes, in a sentence."""


@get(
    "/api/v1/fleet/overview",
    guards=[require_scope],
    opt=described(
        "fleet_overview", tag="fleet", summary="The fleet in one request, for a dashboard", scope="fleet:read", answer=Overview
    ),
)
async def overview(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    table = services.keeper.view.table
    if services.overview.table is not table:  # it is made anew twice a second; so many dashboards cost as much as one
        services.overview.body, services.overview.table = encode(_overview(services)), table
    return answer_encoded(services.overview.body)


def _overview(services: Services) -> Overview:
    states = services.keeper.view.states(now=time.monotonic())
    regions = _regions(services, states)
    worst = sorted(
        states, key=lambda state: (state.eligible and state.verdict.health is Health.UP, -state.utilisation, state.node.name)
    )
    problems = _problems(services, regions, states)
    return Overview(
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
        worst_nodes=[to_node_view(state, now=services.directory.database_now()) for state in worst[:_WORST_SHOWN]],
        problems=problems[:_PROBLEMS_SHOWN],
        problems_left_out=max(0, len(problems) - _PROBLEMS_SHOWN),
        credentials_per_second=round(services.issue_rate.per_second(), 2),
        degraded=_degraded(services),
    )


@get(
    "/api/v1/fleet/regions",
    guards=[require_scope],
    opt=described(
        "list_fleet_regions", tag="fleet", summary="Regions with their health and load", scope="fleet:read", answer=FleetRegionList
    ),
)
async def list_fleet_regions(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    regions = _regions(services, services.keeper.view.states(now=time.monotonic()))
    return answer(FleetRegionList(items=regions, next_cursor=None))


@put(
    "/api/v1/fleet/regions/{slug:str}",
    guards=[require_scope],
    opt=described(
        "put_fleet_region",
        tag="fleet",
        summary="Make a region, or change its name and place",
        scope="fleet:operate",
        body=RegionBody,
        answer=FleetRegionView,
    ),
)
async def put_fleet_region(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    """Make a region, or change its name and place."""
    services = services_of(request)
    if not is_slug(slug):
        raise ProblemError("fields_invalid", "A region's slug is 1 to 63 lower-case letters, digits and '-'.")
    body = await read_json(request, RegionBody)
    region = Region(
        slug=slug, name=body.name, city=body.city, country=body.country, latitude=body.latitude, longitude=body.longitude
    )
    await put_region(services.database, region, actor_of(request))
    await services.directory.refresh()
    states = [state for state in services.keeper.view.states(now=time.monotonic()) if state.node.region == slug]
    return answer(to_fleet_region(region, states, is_operational=_is_operational(services, slug)))


@get(
    "/api/v1/fleet/nodes",
    guards=[require_scope],
    opt=described("list_nodes", tag="fleet", summary="Nodes by name", scope="fleet:read", query=NodeQuery, answer=NodeList),
)
async def list_nodes(request: Request[Any, Any, Any]) -> Response[bytes]:
    services, query = services_of(request), read_query(request, NodeQuery)
    found = [state for state in nodes_by_name(services, query) if query.health is None or state.verdict.health == query.health]
    page, next_cursor = page_of(found, limit=query.limit, key=lambda state: state.node.name)
    now = services.directory.database_now()
    return answer(NodeList(items=[to_node_view(state, now=now) for state in page], next_cursor=next_cursor))


@get(
    "/api/v1/fleet/nodes/{node_id:str}",
    guards=[require_scope],
    opt=described("show_node", tag="fleet", summary="One node, by id or by name", scope="fleet:read", answer=NodeDetail),
)
async def show_node(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    """By id, or by name."""
    services = services_of(request)
    return answer(await node_detail(services, find_node(services, node_id)))


async def node_detail(services: Services, node: Node) -> NodeDetail:
    """Everything that is known of it. Raises DatabaseUnavailableError."""
    view = services.keeper.view
    state = view.state(node, now=time.monotonic())
    return to_node_detail(
        state,
        now=services.directory.database_now(),
        evidence=to_evidence(state, policy=view.policy, interval_seconds=view.interval_seconds),
        found=await found_on(services, node.node_id),
    )


def find_node(services: Services, id_or_name: str) -> Node:
    """Raises ProblemError."""
    nodes = services.keeper.view.nodes
    node = nodes.get(id_or_name) or next((node for node in nodes.values() if node.name == id_or_name), None)
    if node is None:
        raise ProblemError("not_found", "There is no node of that id or name.")
    return node


def nodes_by_name(services: Services, query: NodeQuery | SecretQuery) -> list[NodeState]:
    """Those of the query's region, from its cursor on. Raises ProblemError."""
    after = decode_cursor(query.cursor, str) or ""
    return [
        state
        for state in sorted(services.keeper.view.states(now=time.monotonic()), key=lambda state: state.node.name)
        if (query.region is None or state.node.region == query.region) and state.node.name > after
    ]


def is_in_service(services: Services, node_id: str) -> bool:
    """Whether it reports and is not drained: forgetting it would take a relay with calls out of control.

    What this replica cannot see may well be.
    """
    node = services.keeper.view.nodes.get(node_id)
    if node is None:
        return True
    if node.drain is not None and node.drain.drained_at is not None:
        return False
    state = services.keeper.view.state(node, now=time.monotonic())
    if state.record is None:
        return not services.keeper.seeing
    return state.verdict.health is not Health.DOWN


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
    found.extend(
        OpenProblem(severity="warning", what=f"The roll of {roll.region} has stopped. {roll.because}", region=roll.region)
        for roll in services.directory.stopped_rolls
    )
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
    view = services.keeper.view
    outside = outside_problems(states, view.prober_place(now=time.monotonic()), policy=view.policy)
    found += [*_exposed(states), *_certificates(services, states), *outside]
    return sorted(found, key=lambda each: each.severity != "critical")


def _exposed(states: list[NodeState]) -> list[OpenProblem]:
    """Nodes whose coturn has known faults, in one sentence: a fleet is usually of one version."""
    names = sorted(state.node.name for state in states if state.record and advisories_of(state.record.report.coturn_version))
    if not names:
        return []
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return [OpenProblem(severity="warning", what=f"The coturn of {shown} has known faults: install a newer version.")]


def _certificates(services: Services, states: list[NodeState]) -> list[OpenProblem]:
    """Of TLS listeners, those that end soon, the soonest first."""
    now = services.directory.database_now()
    ending = sorted(
        (ends_at, state.node.name, state.node)
        for state in states
        if state.record is not None and state.verdict.health is not Health.DOWN
        if (ends_at := state.record.report.certificate_ends_at) is not None and ends_at - now < _CERTIFICATE_ENDS_SOON
    )
    return [
        OpenProblem(
            severity="warning",
            what=f"The certificate of {name} {'ends' if ends_at > now else 'ended'} on {ends_at:%Y-%m-%d %H:%M} UTC: "
            + ("it has not been renewed." if ends_at > now else "clients are not told of its TLS listener."),
            region=node.region,
            node_id=node.node_id,
        )
        for ends_at, name, node in ending
    ]
