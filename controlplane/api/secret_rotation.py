"""Rotating the secrets of nodes, and how far that is."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from controlplane.api.access import actor_of, answer, decode_json, read_query, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node, nodes_by_name
from controlplane.api.paging import page_of
from controlplane.api.problems import ProblemError
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.rotation import needed_until, state_of
from controlplane.postgres_store.master_keys import master_key_status
from controlplane.postgres_store.rotation import ask_for_rotation, version_expiries
from controlplane.wire.rotation_api import (
    MasterKeyView,
    RotateFleetBody,
    RotateNodeBody,
    RotationView,
    SecretList,
    SecretQuery,
    SecretVersionView,
    SecretView,
)


@get(
    "/api/v1/fleet/secrets",
    guards=[require_scope],
    opt=described(
        "list_secrets",
        tag="fleet",
        summary="Secret versions of nodes, and what each is for",
        scope="fleet:read",
        query=SecretQuery,
        answer=SecretList,
    ),
)
async def list_secrets(request: Request[Any, Any, Any]) -> Response[bytes]:
    services, query = services_of(request), read_query(request, SecretQuery)
    found = list(islice(nodes_by_name(services, query), query.limit + 1))
    page, next_cursor = page_of(found, limit=query.limit, key=lambda state: state.node.name)
    expiries = await version_expiries(services.database, [state.node.node_id for state in page])
    now = services.directory.database_now()
    items = [_view(state, expiries.get(state.node.node_id, {}), now) for state in page]
    return answer(SecretList(items=items, next_cursor=next_cursor))


@get(
    "/api/v1/fleet/master-key",
    guards=[require_scope],
    opt=described(
        "show_master_key",
        tag="fleet",
        summary="Which master key is used, and what still needs another one",
        scope="fleet:read",
        answer=MasterKeyView,
    ),
)
async def show_master_key(request: Request[Any, Any, Any]) -> Response[bytes]:
    services = services_of(request)
    status = await master_key_status(services.database)
    if status is None:
        raise ProblemError("not_found", "No process has said yet which master key it has: ask again in some seconds.")
    keys = {status.key_id, None}
    needing = [node for node in services.directory.nodes.values() if any(node.key_of(v) not in keys for v in node.secret_versions)]
    return answer(
        MasterKeyView(
            key_id=status.key_id,
            adopted_at=status.adopted_at,
            nodes=len(needing),
            webhooks=status.webhooks,
            processes=status.with_it,
            processes_with_another=status.with_another,
        )
    )


@post(
    "/api/v1/fleet/nodes/{node_id:str}/secrets/rotate",
    status_code=202,
    guards=[require_scope],
    opt=described(
        "rotate_node_secret",
        tag="fleet",
        summary="Give a node a new secret",
        scope="fleet:operate",
        body=RotateNodeBody,
        answer=RotationView,
        status=202,
    ),
)
async def rotate_node_secret(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    body = decode_json(await request.body() or b"{}", RotateNodeBody)
    node = find_node(services_of(request), node_id)
    return await _rotate(request, body, node_id=node.node_id, region=None)


@post(
    "/api/v1/fleet/secrets/rotate",
    status_code=202,
    guards=[require_scope],
    opt=described(
        "rotate_secrets",
        tag="fleet",
        summary="Give every node, or every one of a region, a new secret",
        scope="fleet:operate",
        body=RotateFleetBody,
        answer=RotationView,
        status=202,
        problems=("region_unknown",),
    ),
)
async def rotate_secrets(request: Request[Any, Any, Any]) -> Response[bytes]:
    body = decode_json(await request.body() or b"{}", RotateFleetBody)
    if body.region is not None and body.region not in services_of(request).keeper.view.regions:
        raise ProblemError("region_unknown", "There is no region of that slug.")
    return await _rotate(request, body, node_id=None, region=body.region)


async def _rotate(
    request: Request[Any, Any, Any], body: RotateNodeBody, *, node_id: str | None, region: str | None
) -> Response[bytes]:
    services = services_of(request)
    asked = await ask_for_rotation(
        services.database,
        node_id=node_id,
        region=region,
        emergency=body.emergency,
        reason=body.reason,
        actor=actor_of(request),
    )
    await services.directory.refresh()
    queued = [each.node_id for each in asked if each.queued]
    expiries = await version_expiries(services.database, queued) if queued else {}
    nodes = services.keeper.view.nodes
    ends = [
        until
        for each in queued
        if each in nodes and (until := needed_until(nodes[each], expiries=expiries.get(each, {}))) is not None
    ]
    made = RotationView(nodes=len(asked), staged=len(asked) - len(queued), queued=len(queued), queued_until=max(ends, default=None))
    return answer(made, status=202)


def _view(state: NodeState, expiries: dict[int, datetime], now: datetime) -> SecretView:
    node, record = state.node, state.record
    loaded = set() if record is None else set(record.report.secret_versions)
    return SecretView(
        node_id=node.node_id,
        name=node.name,
        region=node.region,
        versions=[
            SecretVersionView(
                version=version,
                state=state_of(version, node, record).value,
                loaded=version in loaded,
                needed_until=until if (until := expiries.get(version)) is not None and until > now else None,
            )
            for version in sorted(node.secret_versions, reverse=True)
        ],
        staged_at=node.secret_staged_at,
        master_keys=sorted({key for version in node.secret_versions if (key := node.key_of(version)) is not None}),
        queued=node.rotation_wanted,
        drifted=record is not None and record.report.secrets_drifted,
    )
