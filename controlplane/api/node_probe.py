"""A node tried from here, now, because an operator asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, post
from litestar.params import FromPath

from controlplane.api.access import answer, decode_json, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.fleet import find_node
from controlplane.api.problems import ProblemError
from controlplane.fleet.model import Node
from controlplane.flows.probe_node import MOST_AT_ONCE, NodeProbed, TooManyProbesError
from controlplane.turn.forbidden import PeersTried
from controlplane.wire.probe_api import NodeProbeBody, NodeProbeView


@post(
    "/api/v1/fleet/nodes/{node_id:str}/probe",
    status_code=200,
    guards=[require_scope],
    opt=described(
        "probe_node",
        tag="fleet",
        summary="Relay a packet through each listener of a node, from the control plane",
        scope="fleet:operate",
        body=NodeProbeBody,
        body_required=False,
        answer=NodeProbeView,
        problems=("not_found", "body_malformed", "fields_invalid"),
    ),
)
async def probe_node(request: Request[Any, Any, Any], node_id: FromPath[str]) -> Response[bytes]:
    """By id, or by name."""
    services = services_of(request)
    node = find_node(services, node_id)
    given = await request.body()
    asked = decode_json(given, NodeProbeBody) if given.strip() else NodeProbeBody()
    try:
        probed = await services.prober.probe(node, services.keeper.view.record(node.node_id), peers=asked.peers)
    except TooManyProbesError:
        raise ProblemError("rate_limited", f"{MOST_AT_ONCE} probes are running here: ask again when one has ended.") from None
    return answer(_view(node, probed))


def _view(node: Node, probed: NodeProbed) -> NodeProbeView:
    tried = probed.peers if isinstance(probed.peers, PeersTried) else None
    return NodeProbeView(
        node_id=node.node_id,
        name=node.name,
        at=datetime.now(UTC),
        ok=probed.ok,
        as_expected=probed.as_expected,
        note=probed.note,
        listeners=list(probed.listeners),
        permitted_peers=None if tried is None else list(tried.permitted),
        refused_peers=None if tried is None else list(tried.refused),
    )
