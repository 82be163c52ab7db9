"""GET /healthz (the process lives) and /readyz (it can issue)."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from litestar import HttpMethod, Request, Response, route

from controlplane.api.access import answer, services_of
from controlplane.api.describe import described
from controlplane.api.services import Services
from controlplane.wire.fleet_api import Liveness, Readiness

_CLOCK_OFFSET_LIMIT_SECONDS = 5.0
"""A replica whose clock is off by more signs credentials that relays refuse, or that outlive what was asked for."""


@route(
    "/healthz",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    opt=described("healthz", tag="service", summary="The process lives", scope=None, answer=Liveness),
)
async def healthz() -> Response[bytes]:
    response = answer(Liveness(alive=True))
    # RFC 9110 §6.6.1. No other answer has it; agents compare their clock with this one.
    response.headers["date"] = formatdate(usegmt=True)
    return response


@route(
    "/readyz",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    status_code=200,
    opt=described(
        "readyz", tag="service", summary="This replica can issue: 200, else 503 with the reasons", scope=None, answer=Readiness
    ),
)
async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 when this replica can issue; 503 with the reasons when it cannot. A store that is away only degrades it."""
    readiness = readiness_of(services_of(request))
    return answer(readiness, status=200 if readiness.ready else 503)


def readiness_of(services: Services) -> Readiness:
    reasons, degraded = [], []
    if services.directory.version == 0:
        reasons.append("The regions and nodes have not been read from PostgreSQL yet.")
    if not services.keeper.knows_the_fleet:
        reasons.append("The fleet's state has not been read from Redis yet.")
    if services.directory.missing_key is not None:
        reasons.append(services.directory.missing_key)
    if services.journal.failure is not None:
        reasons.append(f"The journal cannot be written: {services.journal.failure}.")
    if services.journal.backlog_bytes >= services.journal.max_bytes:
        reasons.append("The journal is full.")
    if abs(services.directory.clock_offset_seconds) > _CLOCK_OFFSET_LIMIT_SECONDS:
        reasons.append(f"This clock is {services.directory.clock_offset_seconds:+.1f} s off PostgreSQL's.")
    if services.keeper.knows_the_fleet and not services.keeper.seeing:
        degraded.append("Redis does not answer.")
    if services.keeper.view.table.held and services.keeper.seeing:
        degraded.append("Most of the fleet is silent at once: silence removes no node for now.")
    if services.directory.failing:
        degraded.append("PostgreSQL does not answer.")
    return Readiness(ready=not reasons, reasons=reasons, degraded=degraded)
