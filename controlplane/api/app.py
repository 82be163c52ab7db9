"""The application: every route in one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ASGIApp, ControllerRouterHandler

from controlplane.api import audit, fleet_events, fleet_history, organizations, projects, rolls, tokens
from controlplane.api.agent_found import report_found
from controlplane.api.agent_usage import report_usage
from controlplane.api.agents import join, leave, make_heartbeat_route
from controlplane.api.allocations import list_allocations
from controlplane.api.credential_records import list_credentials, show_credential
from controlplane.api.edge import with_request_id
from controlplane.api.error_pages import list_errors, show_error
from controlplane.api.fleet import list_fleet_regions, list_nodes, put_fleet_region, show_node
from controlplane.api.fleet_export import export_fleet
from controlplane.api.ice import make_ice_route
from controlplane.api.join_tokens import create_join_token
from controlplane.api.limits import EXPOSED_HEADERS
from controlplane.api.node_intents import INTENT_ROUTES, forget
from controlplane.api.node_probe import probe_node
from controlplane.api.node_token import rotate_node_token
from controlplane.api.openapi import routes as openapi
from controlplane.api.openapi.document import document_of
from controlplane.api.overview import overview
from controlplane.api.probes import healthz, readyz
from controlplane.api.problems import answer_problem
from controlplane.api.regions import list_regions
from controlplane.api.revocation import revoke_credential, revoke_credentials
from controlplane.api.rooms_and_clients import list_clients, list_rooms, show_client, show_room
from controlplane.api.secret_rotation import list_secrets, rotate_node_secret, rotate_secrets, show_master_key
from controlplane.api.services import Services
from controlplane.api.usage import show_usage
from controlplane.api.webhooks import (
    create_webhook,
    delete_webhook,
    list_deliveries,
    list_webhooks,
    patch_webhook,
    rotate_webhook_secret,
    show_webhook,
    test_webhook,
)

_BODY_LIMIT_BYTES = 64 * 1024


def _routes(services: Services) -> list[ControllerRouterHandler]:
    return [
        make_ice_route(services),
        list_regions,
        list_credentials,
        show_credential,
        revoke_credential,
        revoke_credentials,
        list_allocations,
        list_rooms,
        show_room,
        list_clients,
        show_client,
        show_usage,
        join,
        make_heartbeat_route(services),
        report_usage,
        report_found,
        leave,
        overview,
        export_fleet,
        *INTENT_ROUTES,
        list_secrets,
        show_master_key,
        rotate_node_secret,
        rotate_node_token,
        rotate_secrets,
        forget,
        list_fleet_regions,
        put_fleet_region,
        *rolls.ROUTES,
        list_nodes,
        show_node,
        probe_node,
        create_join_token,
        *organizations.ROUTES,
        *projects.ROUTES,
        *tokens.ROUTES,
        *audit.ROUTES,
        *fleet_events.ROUTES,
        *fleet_history.ROUTES,
        create_webhook,
        list_webhooks,
        show_webhook,
        patch_webhook,
        delete_webhook,
        rotate_webhook_secret,
        test_webhook,
        list_deliveries,
        healthz,
        readyz,
        *openapi.ROUTES,
        list_errors,
        show_error,
    ]


def make_document() -> dict[str, Any]:
    """The OpenAPI document. Nothing runs behind these routes."""
    return document_of(Litestar(_routes(cast("Services", None)), openapi_config=None, logging_config=None))


def make_litestar(services: Services) -> Litestar:
    """The routes, without what is around every request."""
    origins = list(services.settings.cors_origins)
    return Litestar(
        _routes(services),
        state=State({"services": services}),
        exception_handlers={Exception: answer_problem},
        request_max_body_size=_BODY_LIMIT_BYTES,
        openapi_config=None,
        logging_config=None,
        cors_config=CORSConfig(
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Project", "X-Turn-Client-Ip", "Last-Event-ID"],
            expose_headers=[
                *["X-Turn-Region", "X-Turn-Node", "X-Turn-Selection", "X-Credential-Id", "X-Request-Id", "Retry-After"],
                *EXPOSED_HEADERS,
            ],
        )
        if origins
        else None,
    )


def make_app(services: Services, *, around: Callable[[ASGIApp], ASGIApp] | None = None) -> ASGIApp:
    """With what is around every request. `around` is for tracing."""
    app = cast("ASGIApp", make_litestar(services))
    return with_request_id(app if around is None else around(app))
