"""GET /regions: where credentials can be had."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from controlplane.api.access import answer, require_scope, services_of
from controlplane.api.describe import described
from controlplane.api.translate import to_region_view
from controlplane.wire.ice_api import RegionView

_ABOUT = described(
    "list_regions",
    tag="credentials",
    summary="Where credentials can be had",
    scope="credentials:issue",
    answer=list[RegionView],
)


@get("/api/v1/regions", guards=[require_scope], opt=_ABOUT)
async def list_regions(request: Request[Any, Any, Any]) -> Response[bytes]:
    """A bare list, as the published clients expect it."""
    table = services_of(request).keeper.view.table
    return answer(
        [
            to_region_view(each.region, is_online=each.online, is_operational=bool(each.contenders))
            for each in sorted(table.regions.values(), key=lambda each: each.region.slug)
        ]
    )
