"""GET /rooms and /clients: who was there, how much they used, what lives now, and the way back to the application's own page."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from controlplane.api.access import answer, project_of, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.paging import page_of
from controlplane.api.problems import ProblemError
from controlplane.api.record_ranges import cursor_at_key, records_range
from controlplane.api.record_views import clients_of_room, link_back, rooms_of_client, to_allocation, to_credential, to_subject
from controlplane.postgres_store.records import TimeRange, allocations_page, credentials_page
from controlplane.postgres_store.subjects import Kind, link_templates, live_allocations, subject, subjects_page
from controlplane.wire.records_api import ClientDetail, PageQuery, RoomDetail, SubjectList, TimeQuery

_LATEST = 5
_LOOKED_AT = 200
"""Credentials in which the clients of a room, or the rooms of a client, are looked for."""
_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_CLOCK_SLACK = timedelta(hours=1)
"""How far the clock of a node may be behind: an allocation may seem older than the credential that it was made with."""


def _list_of(kind: Kind) -> dict[str, Any]:
    return described(
        f"list_{kind}s",
        tag="records",
        summary=f"{kind.capitalize()}s with their totals, the newest first",
        scope="credentials:read",
        in_project=True,
        query=PageQuery,
        answer=SubjectList,
        problems=("fields_invalid",),
    )


def _one_of(kind: Kind, shown: type) -> dict[str, Any]:
    return described(
        f"show_{kind}",
        tag="records",
        summary=f"A {kind}: its totals, what lives now, and its latest records",
        scope="credentials:read",
        in_project=True,
        answer=shown,
        problems=("not_found",),
    )


@get("/api/v1/rooms", guards=[require_scope], opt=_list_of("room"))
async def list_rooms(request: Request[Any, Any, Any]) -> Response[bytes]:
    return await _list(request, "room")


@get("/api/v1/clients", guards=[require_scope], opt=_list_of("client"))
async def list_clients(request: Request[Any, Any, Any]) -> Response[bytes]:
    return await _list(request, "client")


@get("/api/v1/rooms/{room:str}", guards=[require_scope], opt=_one_of("room", RoomDetail))
async def show_room(request: Request[Any, Any, Any], room: FromPath[str]) -> Response[bytes]:
    return answer(RoomDetail(**await _detail(request, "room", room)))


@get("/api/v1/clients/{client:str}", guards=[require_scope], opt=_one_of("client", ClientDetail))
async def show_client(request: Request[Any, Any, Any], client: FromPath[str]) -> Response[bytes]:
    return answer(ClientDetail(**await _detail(request, "client", client)))


async def _list(request: Request[Any, Any, Any], kind: Kind) -> Response[bytes]:
    database, project_id = services_of(request).records, project_of(request).project_id
    query = read_query(request, PageQuery)
    records = await subjects_page(database, project_id, kind, limit=query.limit + 1, before=cursor_at_key(query.cursor))
    page, next_cursor = page_of(records, limit=query.limit, key=lambda record: (record.first_seen_at, record.key))
    # None of theirs is older than the first of them: the days before need not be looked at.
    from_at = min((record.first_seen_at for record in page), default=datetime.now(UTC)) - _CLOCK_SLACK
    live = await live_allocations(database, project_id, kind, [record.key for record in page], from_at=from_at)
    templates = await link_templates(database, project_id)
    items = [
        to_subject(record, url=link_back(templates, kind, record.key), live_allocations=live.get(record.key, 0)) for record in page
    ]
    return answer(SubjectList(items=items, next_cursor=next_cursor))


async def _detail(request: Request[Any, Any, Any], kind: Kind, key: str) -> dict[str, Any]:
    """The fields of a RoomDetail or ClientDetail. Raises ProblemError not_found."""
    services, project_id = services_of(request), project_of(request).project_id
    database = services.records
    record = await subject(database, project_id, kind, key) if _KEY.fullmatch(key) else None
    if record is None:
        raise ProblemError("not_found", f"There is no {kind} of that name in this project.")
    kept = records_range(TimeQuery(), services.settings)
    # It has no older records: the days before need not be looked at.
    times = TimeRange(from_at=max(kept.from_at, record.first_seen_at - _CLOCK_SLACK), to_at=kept.to_at)
    room, client = (key, None) if kind == "room" else (None, key)
    # Beside each other: planning over many days costs each of them some milliseconds. Each has a deadline of its own.
    credentials_found, allocations_found, live = await asyncio.gather(
        credentials_page(database, project_id, times, limit=_LOOKED_AT, room=room, client=client),
        allocations_page(database, project_id, times, limit=_LATEST, room=room, client=client),
        live_allocations(database, project_id, kind, [key], from_at=times.from_at),
    )
    credentials, allocations = credentials_found.records, allocations_found.records
    templates = await link_templates(database, project_id)
    view = to_subject(record, url=link_back(templates, kind, key), live_allocations=live.get(key, 0))
    others = {"clients": clients_of_room} if kind == "room" else {"rooms": rooms_of_client}
    return {
        **{field: getattr(view, field) for field in view.__struct_fields__},
        **{field: find(credentials, templates) for field, find in others.items()},
        "latest_credentials": [to_credential(each) for each in credentials[:_LATEST]],
        "latest_allocations": [to_allocation(each) for each in allocations],
    }
