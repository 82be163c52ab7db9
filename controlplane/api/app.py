"""The application: every route in one list."""

from __future__ import annotations

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp

from controlplane.api.agents import join, leave, make_heartbeat_route
from controlplane.api.edge import with_request_id
from controlplane.api.error_pages import list_errors, show_error
from controlplane.api.fleet import create_join_token, list_fleet_regions, list_nodes, overview, put_fleet_region, show_node
from controlplane.api.ice import make_ice_route
from controlplane.api.probes import healthz, readyz
from controlplane.api.problems import answer_problem
from controlplane.api.regions import list_regions
from controlplane.api.services import Services

_BODY_LIMIT_BYTES = 64 * 1024


def make_litestar(services: Services) -> Litestar:
    """The routes, without what is around every request."""
    origins = list(services.settings.cors_origins)
    return Litestar(
        [
            make_ice_route(services),
            list_regions,
            join,
            make_heartbeat_route(services),
            leave,
            overview,
            list_fleet_regions,
            put_fleet_region,
            list_nodes,
            show_node,
            create_join_token,
            healthz,
            readyz,
            list_errors,
            show_error,
        ],
        state=State({"services": services}),
        exception_handlers={Exception: answer_problem},
        request_max_body_size=_BODY_LIMIT_BYTES,
        openapi_config=None,
        logging_config=None,
        cors_config=CORSConfig(
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Project", "X-Turn-Client-Ip"],
            expose_headers=["X-Turn-Region", "X-Turn-Node", "X-Turn-Selection", "X-Credential-Id", "X-Request-Id", "Retry-After"],
        )
        if origins
        else None,
    )


def make_app(services: Services) -> ASGIApp:
    return with_request_id(make_litestar(services))
