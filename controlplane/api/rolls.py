"""Rolls: a region's relays restarted one after another. Asked for here, done by the leader of the jobs."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from controlplane.api.access import actor_of, answer, decode_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.fleet.roll import Roll, RollStep, waits_for
from controlplane.postgres_store.errors import ConflictError
from controlplane.postgres_store.rolls import resume_roll, roll_by_id, rolls_where, start_roll, stop_roll
from controlplane.wire.fleet_api import IntentBody
from controlplane.wire.rolls_api import RollBody, RollList, RollNodeView, RollQuery, RollSummary, RollView

_CHANGES = {"stop": stop_roll, "resume": resume_roll}
_SUMMARIES = {"stop": "Take no further step of a roll", "resume": "Go on with a roll that was stopped, or stopped by itself"}


@post(
    "/api/v1/fleet/regions/{slug:str}/roll",
    status_code=202,
    guards=[require_scope],
    opt=described(
        "roll_region",
        tag="fleet",
        summary="Restart the relays of a region one after another, without refusing anybody",
        scope="fleet:operate",
        body=RollBody,
        answer=RollView,
        status=202,
        problems=("conflict",),
    ),
)
async def roll_region(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    services = services_of(request)
    body = decode_json(await request.body() or b"{}", RollBody)
    if slug not in services.keeper.view.regions:
        raise ProblemError("not_found", "There is no region of that slug.")
    try:
        roll = await start_roll(
            services.database,
            region=slug,
            reason=body.reason,
            max_unavailable=body.max_unavailable,
            deadline_seconds=body.deadline_seconds,
            force=body.force,
            actor=actor_of(request),
        )
    except ConflictError as error:
        raise ProblemError("conflict", str(error)) from None
    return answer(_view(services, roll), status=202)


@get(
    "/api/v1/fleet/rolls",
    guards=[require_scope],
    opt=described(
        "list_rolls", tag="fleet", summary="Rolls, the newest first", scope="fleet:read", query=RollQuery, answer=RollList
    ),
)
async def list_rolls(request: Request[Any, Any, Any]) -> Response[bytes]:
    query = read_query(request, RollQuery)
    after = decode_cursor(query.cursor, tuple[UUID])
    found = await rolls_where(
        services_of(request).database,
        region=query.region,
        state=query.state,
        before_id=None if after is None else after[0],
        rows=query.limit + 1,
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda roll: (roll.roll_id,))
    return answer(RollList(items=[RollSummary(**_summary(roll)) for roll in page], next_cursor=next_cursor))


@get(
    "/api/v1/fleet/rolls/{roll_id:str}",
    guards=[require_scope],
    opt=described(
        "show_roll", tag="fleet", summary="One roll, with how far each node has come", scope="fleet:read", answer=RollView
    ),
)
async def show_roll(request: Request[Any, Any, Any], roll_id: FromPath[str]) -> Response[bytes]:
    services = services_of(request)
    return answer(_view(services, _found(await roll_by_id(services.database, _identity(roll_id)))))


def _route(change: str) -> HTTPRouteHandler:
    @post(
        f"/api/v1/fleet/rolls/{{roll_id:str}}/{change}",
        status_code=200,
        name=f"{change}_roll",
        guards=[require_scope],
        opt=described(
            f"{change}_roll",
            tag="fleet",
            summary=_SUMMARIES[change],
            scope="fleet:operate",
            body=IntentBody,
            body_required=False,
            answer=RollView,
            problems=("conflict", "body_malformed", "fields_invalid"),
        ),
    )
    async def handler(request: Request[Any, Any, Any], roll_id: FromPath[str]) -> Response[bytes]:
        services = services_of(request)
        body = decode_json(await request.body() or b"{}", IntentBody)
        try:
            roll = await _CHANGES[change](services.database, _identity(roll_id), reason=body.reason, actor=actor_of(request))
        except ConflictError as error:
            raise ProblemError("conflict", str(error)) from None
        await services.directory.refresh()
        return answer(_view(services, _found(roll)))

    return handler


def _identity(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _unknown() from None


def _found(roll: Roll | None) -> Roll:
    if roll is None:
        raise _unknown()
    return roll


def _unknown() -> ProblemError:
    return ProblemError("not_found", "There is no roll of that id.")


def _summary(roll: Roll) -> dict[str, Any]:
    counted = Counter(node.step for node in roll.nodes)
    return {
        "roll_id": roll.roll_id,
        "region": roll.region,
        "state": roll.state.value,
        "reason": roll.reason,
        "max_unavailable": roll.max_unavailable,
        "deadline_seconds": roll.deadline_seconds,
        "force": roll.force,
        "started_at": roll.started_at,
        "started_by": roll.started_by,
        "ended_at": roll.ended_at,
        "stopped_by": roll.stopped_by,
        "stopped_because": roll.stopped_because,
        "nodes": len(roll.nodes),
        "done": counted[RollStep.DONE],
        "skipped": counted[RollStep.SKIPPED],
        "failed": counted[RollStep.FAILED],
    }


def _view(services: Services, roll: Roll) -> RollView:
    view, now = services.keeper.view, time.monotonic()
    place = view.prober_place(now=now) if services.settings.outside_probe_seconds else None
    states = {state.node.node_id: state for state in view.states(now=now) if state.node.region == roll.region}
    return RollView(
        **_summary(roll),
        waits_for=waits_for(roll, states, place=place),
        steps=[
            RollNodeView(node_id=each.node_id, name=each.name, step=each.step.value, since_at=each.since_at, detail=each.detail)
            for each in roll.nodes
        ],
    )


ROUTES: list[ControllerRouterHandler] = [roll_region, list_rolls, show_roll, *(_route(change) for change in _CHANGES)]
