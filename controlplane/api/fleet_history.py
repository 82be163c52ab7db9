"""What nodes and regions carried and how they were over time: at most 500 points, however long the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import structs

from controlplane.api.access import answer, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node
from controlplane.api.fleet_events import to_event_view
from controlplane.api.problems import ProblemError
from controlplane.api.services import Services
from controlplane.api.tenant_fields import check_slug, in_utc, wrong_field
from controlplane.postgres_store.event_log import LoggedEvent, events_where
from controlplane.postgres_store.history import MINUTES_KEPT, TEN_MINUTES, node_history, region_history
from controlplane.wire.history_api import HistoryQuery, NodeHistory, NodeHistoryPoint, RegionHistory, RegionHistoryPoint

MAX_POINTS = 500
MAX_EVENTS = 500
_DEFAULT = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_STEPS = tuple(timedelta(minutes=each) for each in (1, 2, 5, 10, 20, 30, 60, 120, 180, 360, 720, 1440))
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    from_at: datetime
    to_at: datetime
    step: timedelta

    @property
    def coarse(self) -> bool:
        return self.step >= TEN_MINUTES


@get(
    "/api/v1/fleet/nodes/{node_id:str}/history",
    guards=[require_scope],
    opt=described(
        "show_node_history",
        tag="fleet",
        summary="What a node carried and how it was over time, for charts",
        scope="fleet:read",
        query=HistoryQuery,
        answer=NodeHistory,
    ),
)
async def show_node_history(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    """By id, or by name."""
    services = services_of(request)
    node = find_node(services, node_id)
    now = services.directory.database_now()
    span = span_of(read_query(request, HistoryQuery), now=now, kept=_kept(services), finest_from=now - MINUTES_KEPT)
    points = await node_history(
        services.records, UUID(node.node_id), from_at=span.from_at, to_at=span.to_at, step=span.step, coarse=span.coarse
    )
    events = await events_where(
        services.records, node_id=UUID(node.node_id), since=span.from_at, until=span.to_at, rows=MAX_EVENTS + 1
    )
    return answer(
        NodeHistory(
            node_id=node.node_id,
            name=node.name,
            region=node.region,
            points=[NodeHistoryPoint(**structs.asdict(each)) for each in points],
            **_around(span, events),
        )
    )


@get(
    "/api/v1/fleet/regions/{slug:str}/history",
    guards=[require_scope],
    opt=described(
        "show_region_history",
        tag="fleet",
        summary="What a region carried and whether it took clients over time, for charts",
        scope="fleet:read",
        query=HistoryQuery,
        answer=RegionHistory,
    ),
)
async def show_region_history(request: Request[Any, Any, Any], slug: FromPath[str]) -> Response[bytes]:
    services = services_of(request)
    if check_slug(slug, "region") not in services.keeper.view.regions:
        raise ProblemError("not_found", "There is no region of that slug.")
    now = services.directory.database_now()
    kept = _kept(services)
    span = span_of(read_query(request, HistoryQuery), now=now, kept=kept, finest_from=now - kept)
    points = await region_history(services.records, slug, from_at=span.from_at, to_at=span.to_at, step=span.step)
    events = await events_where(
        services.records, region=slug, kind="region.state", since=span.from_at, until=span.to_at, rows=MAX_EVENTS + 1
    )
    return answer(
        RegionHistory(slug=slug, points=[RegionHistoryPoint(**structs.asdict(each)) for each in points], **_around(span, events))
    )


def span_of(query: HistoryQuery, *, now: datetime, kept: timedelta, finest_from: datetime) -> _Span:
    """The time that is asked about, as far as it is kept, and the finest step with at most MAX_POINTS of it.

    From before `finest_from` there are ten minutes and no finer. Raises ProblemError fields_invalid.
    """
    to_at = now if query.until is None else in_utc("to", query.until)
    since = None if query.since is None else in_utc("from", query.since)
    if since is not None and since > to_at:
        raise wrong_field("from", "must not be after `to`")
    to_at = min(max(to_at, now - kept), now)
    from_at = to_at - _DEFAULT if since is None else since
    from_at = min(max(from_at, now - kept), to_at)
    least = _MINUTE if from_at >= finest_from else TEN_MINUTES
    # One step more than fits: the first one begins before `from`.
    step = next(each for each in _STEPS if each >= least and (to_at - from_at) / each <= MAX_POINTS - 1)
    return _Span(from_at=from_at - (from_at - _EPOCH) % step, to_at=to_at, step=step)


def _kept(services: Services) -> timedelta:
    return timedelta(days=services.settings.history_retention_days)


def _around(span: _Span, events: Sequence[LoggedEvent]) -> dict[str, Any]:
    return {
        "since": span.from_at,
        "until": span.to_at,
        "step_seconds": int(span.step.total_seconds()),
        "events": [to_event_view(each) for each in reversed(events[:MAX_EVENTS])],
        "events_left_out": len(events) > MAX_EVENTS,
    }


ROUTES: list[ControllerRouterHandler] = [show_node_history, show_region_history]
