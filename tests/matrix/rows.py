"""Every route and who gets which status from it. A new route without a row fails the suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

COLUMNS: Final = (
    "no_token",
    "malformed",
    "expired",
    "deleted",
    "wrong_scope",
    "other_tenant",
    "project",
    "organization",
    "operator",
    "node",
)
"""`wrong_scope`: a token of the same tenant with every scope but the one. `other_tenant`: an organization token with every
scope, asking for this tenant's object. `project`, `organization`, `operator`: with every scope of their kind. `node`: a node's."""

_NO_USER: Final = {"no_token": 401, "malformed": 401, "expired": 401, "deleted": 401}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    call: str
    """METHOD /path as the document writes it; its parameters are filled by the world's objects of that name."""
    expected: dict[str, int]
    body: Any = None
    query: dict[str, str] = field(default_factory=dict)
    fill: dict[str, str] = field(default_factory=dict)
    """Parameter → the world's object, where the names differ."""
    scope: str | None = None


def tenant(call: str, scope: str, *, other: int, project: int, organization: int, operator: int, **more: Any) -> Row:
    """A call for applications."""
    expected = _NO_USER | {
        "wrong_scope": 403,
        "other_tenant": other,
        "project": project,
        "organization": organization,
        "operator": operator,
        "node": 401,
    }
    return Row(call=call, expected=expected, scope=scope, **more)


def fleet(call: str, scope: str, *, operator: int, **more: Any) -> Row:
    """A call for operators alone: no other token ever has its scope."""
    return tenant(call, scope, other=403, project=403, organization=403, operator=operator, **more)


def agent(call: str, *, node: int, **more: Any) -> Row:
    """A call with a node token."""
    return Row(call=call, expected={**dict.fromkeys(COLUMNS, 401), "node": node}, **more)


def public(call: str, status: int = 200, **more: Any) -> Row:
    return Row(call=call, expected=dict.fromkeys(COLUMNS, status), **more)


def everyone(status: int) -> dict[str, int]:
    return {"project": status, "organization": status, "operator": status}


_REGION = {"name": "Europe", "city": "Frankfurt", "country": "DE", "latitude": 50.1, "longitude": 8.7}
_WEBHOOK = {"url": "http://127.0.0.1:9/hook", "events": ["credential.revoked"]}

ROWS: Final = (
    # Issuing and regions. Another tenant has credentials of its own.
    tenant("POST /api/v1/credentials/ice", "credentials:issue", other=200, **everyone(200)),
    tenant("POST /credentials/ice", "credentials:issue", other=200, **everyone(200)),
    tenant("GET /api/v1/regions", "credentials:issue", other=200, **everyone(200)),
    # Records. Lists of another tenant are its own.
    tenant("GET /api/v1/credentials", "credentials:read", other=200, **everyone(200)),
    tenant("GET /api/v1/credentials/{credential_id}", "credentials:read", other=404, **everyone(200)),
    tenant("DELETE /api/v1/credentials/{credential_id}", "credentials:revoke", other=404, **everyone(204)),
    tenant("POST /api/v1/credentials/revoke", "credentials:revoke", other=204, body={"room": "nobody"}, **everyone(204)),
    tenant("GET /api/v1/allocations", "credentials:read", other=200, **everyone(200)),
    tenant("GET /api/v1/rooms", "credentials:read", other=200, **everyone(200)),
    tenant("GET /api/v1/rooms/{room}", "credentials:read", other=404, **everyone(200)),
    tenant("GET /api/v1/clients", "credentials:read", other=200, **everyone(200)),
    tenant("GET /api/v1/clients/{client}", "credentials:read", other=404, **everyone(200)),
    tenant("GET /api/v1/usage", "usage:read", other=200, **everyone(200)),
    # Tenants.
    fleet("GET /api/v1/organizations", "tenants:manage", operator=200),
    fleet("POST /api/v1/organizations", "tenants:manage", operator=201, body={"slug": "{new}", "name": "New"}),
    fleet("GET /api/v1/organizations/{slug}", "tenants:manage", operator=200, fill={"slug": "organization"}),
    fleet("PATCH /api/v1/organizations/{slug}", "tenants:manage", operator=200, fill={"slug": "organization"}, body={"name": "N"}),
    fleet("DELETE /api/v1/organizations/{slug}", "tenants:manage", operator=204, fill={"slug": "organization"}),
    tenant("GET /api/v1/projects", "projects:manage", other=200, **everyone(200)),
    tenant(
        "POST /api/v1/projects",
        "projects:manage",
        other=201,  # one of its own
        project=403,
        organization=201,
        operator=201,
        body={"slug": "{new}", "name": "New"},
    ),
    tenant("GET /api/v1/projects/{slug}", "projects:manage", other=404, **everyone(200), fill={"slug": "own_project"}),
    tenant(
        "PATCH /api/v1/projects/{slug}",
        "projects:manage",
        other=404,
        **everyone(200),
        fill={"slug": "own_project"},
        body={"name": "New"},
    ),
    tenant(
        "DELETE /api/v1/projects/{slug}",
        "projects:manage",
        other=404,
        project=403,
        organization=204,
        operator=204,
        fill={"slug": "project"},
    ),
    tenant("GET /api/v1/tokens", "tokens:manage", other=200, **everyone(200)),
    tenant(
        "POST /api/v1/tokens",
        "tokens:manage",
        other=201,  # one of its own
        **everyone(201),
        body={"kind": "project", "name": "New", "scopes": ["credentials:issue"], "project": "{default_project}"},
    ),
    tenant("GET /api/v1/tokens/{token_id}", "tokens:manage", other=404, **everyone(200)),
    tenant("PATCH /api/v1/tokens/{token_id}", "tokens:manage", other=404, **everyone(200), body={"name": "New"}),
    tenant("DELETE /api/v1/tokens/{token_id}", "tokens:manage", other=404, **everyone(204)),
    tenant("POST /api/v1/tokens/{token_id}/rotate", "tokens:manage", other=404, **everyone(201), body={}),
    # Webhooks.
    tenant("GET /api/v1/webhooks", "webhooks:manage", other=200, **everyone(200)),
    tenant("POST /api/v1/webhooks", "webhooks:manage", other=201, **everyone(201), body=_WEBHOOK),
    tenant("GET /api/v1/webhooks/{webhook_id}", "webhooks:manage", other=404, **everyone(200)),
    tenant("PATCH /api/v1/webhooks/{webhook_id}", "webhooks:manage", other=404, **everyone(200), body={"name": "New"}),
    tenant("DELETE /api/v1/webhooks/{webhook_id}", "webhooks:manage", other=404, **everyone(204)),
    tenant("POST /api/v1/webhooks/{webhook_id}/rotate-secret", "webhooks:manage", other=404, **everyone(200)),
    tenant("POST /api/v1/webhooks/{webhook_id}/test", "webhooks:manage", other=404, **everyone(200)),
    tenant("GET /api/v1/webhooks/{webhook_id}/deliveries", "webhooks:manage", other=404, **everyone(200)),
    # The fleet.
    fleet("GET /api/v1/fleet/overview", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/export", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/regions", "fleet:read", operator=200),
    fleet("PUT /api/v1/fleet/regions/{slug}", "fleet:operate", operator=200, fill={"slug": "region"}, body=_REGION),
    fleet("POST /api/v1/fleet/regions/{slug}/roll", "fleet:operate", operator=202, fill={"slug": "idle_region"}),
    fleet("GET /api/v1/fleet/rolls", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/rolls/{roll_id}", "fleet:read", operator=200),
    fleet("POST /api/v1/fleet/rolls/{roll_id}/stop", "fleet:operate", operator=200),
    fleet("POST /api/v1/fleet/rolls/{roll_id}/resume", "fleet:operate", operator=200, fill={"roll_id": "stopped_roll"}),
    fleet("GET /api/v1/fleet/nodes", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/nodes/{node_id}", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/nodes/{node_id}/history", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/regions/{slug}/history", "fleet:read", operator=200, fill={"slug": "region"}),
    fleet("POST /api/v1/fleet/nodes/{node_id}/cordon", "fleet:operate", operator=202, body={"reason": "a look"}),
    fleet("POST /api/v1/fleet/nodes/{node_id}/uncordon", "fleet:operate", operator=202),
    fleet("POST /api/v1/fleet/nodes/{node_id}/drain", "fleet:operate", operator=202, body={"deadline_seconds": 60}),
    fleet("POST /api/v1/fleet/nodes/{node_id}/undrain", "fleet:operate", operator=202),
    fleet("GET /api/v1/fleet/secrets", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/master-key", "fleet:read", operator=200),
    fleet("POST /api/v1/fleet/nodes/{node_id}/secrets/rotate", "fleet:operate", operator=202),
    fleet("POST /api/v1/fleet/nodes/{node_id}/token/rotate", "fleet:operate", operator=202, body={"reason": "a look"}),
    fleet("POST /api/v1/fleet/secrets/rotate", "fleet:operate", operator=202, body={"region": "eu-central"}),
    fleet("DELETE /api/v1/fleet/nodes/{node_id}", "fleet:operate", operator=204, fill={"node_id": "spare_node"}),
    fleet("POST /api/v1/fleet/nodes/{node_id}/probe", "fleet:operate", operator=200, body={"peers": True}),
    fleet("POST /api/v1/fleet/join-tokens", "fleet:operate", operator=201, body={"region": "eu-central"}),
    fleet("GET /api/v1/fleet/audit", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/events", "fleet:read", operator=200),
    fleet("GET /api/v1/fleet/events/stream", "fleet:read", operator=200),
    # Agents. A join token is in the body, so the token of the header does not matter.
    public("POST /api/v1/agents/join", 403, body={"join_token": "tfj_unknown", "join_nonce": "nonce-nonce", "name": "x"}),
    agent("POST /api/v1/agents/heartbeat", node=200, body="{heartbeat}"),
    agent("POST /api/v1/agents/usage", node=200, body={"allocations": []}),
    agent("POST /api/v1/agents/found", node=204, body={"examined_at": 1, "listen_address": "::1", "relay_address": "::1"}),
    agent("POST /api/v1/agents/leave", node=204, body={"boot_id": "another-boot", "sequence": 1}),
    # For anyone.
    public("GET /healthz"),
    public("GET /readyz"),
    public("GET /openapi.json"),
    public("GET /docs"),
    public("GET /docs/errors"),
    public("GET /docs/errors/{code}"),
)
