"""What happened to the fleet: as a list, and live as Server-Sent Events."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from controlplane.api.access import answer, principal_of, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import decode_cursor, page_of
from controlplane.api.problems import ProblemError
from controlplane.api.raw_http import aborter, header
from controlplane.api.services import Services
from controlplane.api.tenant_fields import in_utc
from controlplane.flows.authenticate import Principal
from controlplane.flows.follow_events import EventFilter, EventStream, Missed, StreamsExhaustedError
from controlplane.postgres_store.event_log import LoggedEvent, events_where
from controlplane.wire.events_api import (
    MAX_EVENT_ID,
    EventId,
    EventQuery,
    EventStreamQuery,
    FleetEventList,
    FleetEventView,
    ReloadNotice,
)

KEEP_ALIVE_SECONDS = 15.0
"""Below the 60 s after which many proxies end a connection that says nothing."""
CHECK_SECONDS = 2.0
"""How often it is asked whether the token that opened a stream may still read it."""
_RETRY = b"retry: 1000\n"
"""Milliseconds after which a client comes back."""
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
_encoder = msgspec.json.Encoder()


@get(
    "/api/v1/fleet/events",
    guards=[require_scope],
    opt=described(
        "list_fleet_events",
        tag="fleet",
        summary="What happened to nodes and regions; the newest first",
        scope="fleet:read",
        query=EventQuery,
        answer=FleetEventList,
    ),
)
async def list_fleet_events(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    query = read_query(request, EventQuery)
    after = decode_cursor(query.cursor, tuple[EventId])
    since = None if query.since is None else in_utc("from", query.since)
    until = None if query.until is None else in_utc("to", query.until)
    node_id, node_name = _id_or_name(services, query.node)
    found = await events_where(
        services.database,
        node_id=node_id,
        node_name=node_name,
        region=query.region,
        kind=query.kind,
        since=since,
        until=until,
        before_id=None if after is None else after[0],
        rows=query.limit + 1,
    )
    page, next_cursor = page_of(found, limit=query.limit, key=lambda each: (each.id,))
    return answer(FleetEventList(items=[to_event_view(each) for each in page], next_cursor=next_cursor))


@get(
    "/api/v1/fleet/events/stream",
    guards=[require_scope],
    opt=described(
        "stream_fleet_events",
        tag="fleet",
        summary="What happens to nodes and regions, live as Server-Sent Events; `Last-Event-ID` goes on after an event",
        scope="fleet:read",
        query=EventStreamQuery,
        answer=str,
        media_types=("text/event-stream",),
        problems=("streams_exhausted",),
    ),
)
async def stream_fleet_events(request: Request[Any, Any, Any]) -> ASGIApp:
    services = services_of(request)
    query = read_query(request, EventStreamQuery)
    wanted = EventFilter(node=query.node, region=query.region, kind=query.kind)
    try:
        stream = await services.events.open(wanted, after_id=_last_event_id(request.scope))
    except StreamsExhaustedError:
        raise ProblemError(
            "streams_exhausted", "This process has as many live streams as it may. Try again shortly, or read the list."
        ) from None
    return _Sending(services, stream, principal_of(request))


class _Sending:
    """The answer: frames as they come, until the stream ends or nobody is there any more."""

    def __init__(self, services: Services, stream: EventStream, principal: Principal) -> None:
        self._services = services
        self._stream = stream
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        stream.abort = aborter(scope)
        self._services.metrics.event_streams.set(self._services.events.streams)
        leaving = asyncio.create_task(_until_gone(receive, stream))
        allowed = asyncio.create_task(_while_allowed(self._services, self._principal, stream))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            frames = b"" if stream.ended else _place(stream, first=_RETRY)
            while not stream.ended:
                await send({"type": "http.response.body", "body": frames, "more_body": True})
                frames = await stream.take(KEEP_ALIVE_SECONDS)
                if not frames and not stream.ended:
                    frames = _place(stream, first=b": still here\n")
            await send({"type": "http.response.body", "body": frames + _last_words(stream), "more_body": False})
        finally:
            self._services.events.close(stream)
            for task in (leaving, allowed):
                task.cancel()
            await asyncio.gather(leaving, allowed, return_exceptions=True)
            self._services.metrics.event_streams.set(self._services.events.streams)


async def _until_gone(receive: Receive, stream: EventStream) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        stream.end()


async def _while_allowed(services: Services, principal: Principal, stream: EventStream) -> None:
    """Ends the stream of a token that was deleted or has expired, or lost the scope. Its client comes back and is told so."""
    try:
        while services.authenticator.still_may(principal, "fleet:read"):  # noqa: ASYNC110 - an expiry is no event
            await asyncio.sleep(CHECK_SECONDS)
    finally:
        stream.end()


def event_frame(event: LoggedEvent) -> bytes:
    """An event as it is sent. JSON has no line ends of its own."""
    return b"id: %d\ndata: %b\n\n" % (event.id, _encoder.encode(to_event_view(event)))


def _place(stream: EventStream, *, first: bytes) -> bytes:
    """Up to where the client has everything, although nothing was for it: a block without data sets its last event id alone."""
    return first + b"id: %d\n\n" % stream.position


def _last_words(stream: EventStream) -> bytes:
    if stream.missed is None:
        return stream.rest() + _place(stream, first=_RETRY)
    # With its id, so that a client that comes back by itself is not told the same again. Not before: what was missed would be lost
    # on a client that got the id and not the event.
    notice = ReloadNotice(reason=stream.missed, detail=_RELOAD[stream.missed])
    return _RETRY + b"event: reload\nid: %d\ndata: %b\n\n" % (stream.position, _encoder.encode(notice))


_RELOAD: dict[Missed, str] = {
    "too_old": "Events after the last one that you have had were deleted for their age: read the list again.",
    "too_far_behind": "Too many events happened since the last one that you have had: read the list again.",
    "too_slow": "Events came faster than they were read, and some were not sent: read the list again.",
    "unknown_id": "The last event that you have had is none of this database: read the list again.",
}


def _last_event_id(scope: Scope) -> int | None:
    text = (header(scope, b"last-event-id") or "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > len(str(MAX_EVENT_ID)) or int(text) > MAX_EVENT_ID:
        raise ProblemError("request_malformed", "Last-Event-ID must be the id of an event of this stream: a whole number.")
    return int(text)


def _id_or_name(services: Services, named: str | None) -> tuple[UUID | None, str | None]:
    """Which of both was meant, also of a node that was forgotten. Under a name there may have been several, one after the other."""
    if named is None or any(node.name == named for node in services.directory.nodes.values()):
        return None, named
    try:
        return UUID(named), None
    except ValueError:
        return None, named


def to_event_view(event: LoggedEvent) -> FleetEventView:
    return FleetEventView(
        id=event.id,
        happened_at=event.happened_at,
        kind=event.kind,
        region=event.region,
        node_id=None if event.node_id is None else str(event.node_id),
        node=event.node,
        was=event.was,
        became=event.became,
        reason=event.reason,
        detail=event.detail,
        actor=event.actor,
    )


ROUTES: list[ControllerRouterHandler] = [list_fleet_events, stream_fleet_events]
