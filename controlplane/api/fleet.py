"""The fleet for operators and dashboards: what is, with its reason."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from litestar import Request, Response, get, put
from litestar.params import FromPath

from controlplane.api.access import actor_of, answer, read_json, read_query, require_scope, services_of
from controlplane.api.agent_found import found_on
from controlplane.api.describe import described
from controlplane.api.evidence import to_evidence
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.api.translate import to_fleet_region, to_node_detail, to_node_view
from controlplane.fleet.model import Health, Node, Region
from controlplane.fleet.node_state import NodeState, nodes_by_region
from controlplane.postgres_store.directory import put_region
from controlplane.wire.fleet_api import (
    FleetRegionList,
    FleetRegionView,
    NodeDetail,
    NodeList,
    NodeQuery,
    RegionBody,
    is_slug,
)
from controlplane.wire.rotation_api import SecretQuery


@get(
    "/api/v1/fleet/regions",
    guards=[require_scope],
    opt=described(
        "list_fleet_regions", tag="fleet", summary="Regions with their health and load", scope="fleet:read", answer=FleetRegionList
    ),
)
async def list_fleet_regions(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    regions = list(regions_of(services, services.keeper.view.states(now=time.monotonic())))
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
    found = (state for state in nodes_by_name(services, query) if query.health is None or state.verdict.health == query.health)
    page, next_cursor = page_of(list(islice(found, query.limit + 1)), limit=query.limit, key=lambda state: state.node.name)
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


def nodes_by_name(services: Services, query: NodeQuery | SecretQuery) -> Iterator[NodeState]:
    """Those of the query's region, from its cursor on, one after another as they are taken. Raises ProblemError."""
    after, view = decode_cursor(query.cursor, str) or "", services.keeper.view
    chosen = [node for node in view.nodes.values() if (query.region is None or node.region == query.region) and node.name > after]
    return view.states_of(sorted(chosen, key=lambda node: node.name), now=time.monotonic())


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


def regions_of(services: Services, states: Iterable[NodeState]) -> Iterator[FleetRegionView]:
    """By slug, one after another as they are taken. `states` are of all nodes."""
    grouped = nodes_by_region(states)
    for slug, region in sorted(services.keeper.view.regions.items()):
        yield to_fleet_region(region, grouped.get(slug, []), is_operational=_is_operational(services, slug))


def _is_operational(services: Services, slug: str) -> bool:
    """As GET /regions says it: by the table that selection reads."""
    table = services.keeper.view.table.regions.get(slug)
    return table is not None and bool(table.contenders)
