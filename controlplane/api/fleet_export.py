"""The fleet as the simulator reads it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get

from controlplane.api.access import answer, require_scope, services_of
from controlplane.api.describe import described
from controlplane.fleet.model import Health
from controlplane.wire.fleet_api import ExportedNode, ExportedRegion, ExportedTraffic, FleetExport


@get(
    "/api/v1/fleet/export",
    guards=[require_scope],
    opt=described(
        "export_fleet", tag="fleet", summary="The fleet as the simulator reads it", scope="fleet:read", answer=FleetExport
    ),
)
async def export_fleet(request: Request[Any, Any, Any]) -> Response[bytes]:
    """What `turnfleet sim what-if` works on: capacities, places and the load of now."""
    view = services_of(request).keeper.view
    nodes = [
        ExportedNode(
            name=state.node.name,
            region=state.node.region,
            capacity_bits_per_second=state.record.report.capacity.bits_per_second,
            capacity_allocations=state.record.report.capacity.allocations,
            bits_per_second=state.record.report.load.bits_per_second,
            allocations=state.record.report.load.allocations,
        )
        for state in view.states(now=time.monotonic())
        if state.record is not None and state.verdict.health is not Health.DOWN
    ]
    session = view.conversion.weight(None, forced_relay=True).bits_per_second
    return answer(
        FleetExport(
            at=datetime.now(UTC),
            regions=[
                ExportedRegion(slug=region.slug, latitude=region.latitude, longitude=region.longitude)
                for _, region in sorted(view.regions.items())
            ],
            nodes=sorted(nodes, key=lambda node: (node.region, node.name)),
            traffic=ExportedTraffic(
                conversion=view.conversion.weight(None).bits_per_second / session, mean_bits_per_second=session
            ),
        )
    )
