"""GET /fleet/overview: the fleet in one answer, and what a person should look at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from typing import Any, TypeVar

from litestar import Request, Response, get

from controlplane.api.access import answer_encoded, encode, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.evidence import outside_problems
from controlplane.api.fleet import regions_of
from controlplane.api.services import Services
from controlplane.api.translate import count_by_health, to_node_view
from controlplane.fleet.coturn_advisories import advisories_of
from controlplane.fleet.model import Health
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.words import some_of
from controlplane.wire.fleet_api import Degraded, FleetRegionView, OpenProblem, Overview, Totals

FRESH_SECONDS = 0.5
"""As often as a fleet without news is looked at: so many dashboards cost as much as one."""
_NODES_AT_ONCE, _REGIONS_AT_ONCE = 100, 1
"""A millisecond or less: requests get their turn in between. The longest is that of the problems, 12 ms with 10,000 nodes down."""
_WORST_SHOWN = 10
_PROBLEMS_SHOWN = 100
_CERTIFICATE_ENDS_SOON = timedelta(days=14)
"""As the agents' alert has it: a renewal is usually tried 30 days before the end."""

_Item = TypeVar("_Item")


@get(
    "/api/v1/fleet/overview",
    guards=[require_scope],
    opt=described(
        "fleet_overview", tag="fleet", summary="The fleet in one request, for a dashboard", scope="fleet:read", answer=Overview
    ),
)
async def overview(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    last, asked = services.overview, time.monotonic()
    async with last.making:  # who waited for it takes what was made meanwhile
        version = services.directory.version
        if last.begun_at < asked - FRESH_SECONDS or last.version != version:
            begun_at = time.monotonic()
            last.body = encode(await _overview(services))
            last.begun_at, last.version = begun_at, version
    return answer_encoded(last.body)


async def _in_turns(items: Iterable[_Item], *, at_once: int) -> list[_Item]:
    made = []
    for number, item in enumerate(items, start=1):
        made.append(item)
        if number % at_once == 0:
            await asyncio.sleep(0)
    return made


async def _overview(services: Services) -> Overview:
    view = services.keeper.view
    states = await _in_turns(view.states_of(list(view.nodes.values()), now=time.monotonic()), at_once=_NODES_AT_ONCE)
    regions = await _in_turns(regions_of(services, states), at_once=_REGIONS_AT_ONCE)
    worst = nsmallest(
        _WORST_SHOWN,
        states,
        key=lambda state: (state.eligible and state.verdict.health is Health.UP, -state.utilisation, state.node.name),
    )
    await asyncio.sleep(0)
    problems = _problems(services, regions, states)
    await asyncio.sleep(0)
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
        worst_nodes=[to_node_view(state, now=services.directory.database_now()) for state in worst],
        problems=problems[:_PROBLEMS_SHOWN],
        problems_left_out=max(0, len(problems) - _PROBLEMS_SHOWN),
        credentials_per_second=round(services.issue_rate.per_second(), 2),
        degraded=_degraded(services),
    )


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
    return [OpenProblem(severity="warning", what=f"The coturn of {some_of(names)} has known faults: install a newer version.")]


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
