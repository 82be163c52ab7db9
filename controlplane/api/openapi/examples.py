"""An example of any wire type, made from the names of its fields: one table instead of an example beside every route."""

from __future__ import annotations

from typing import Any, Final

from msgspec import inspect

_ID: Final = "01a20144-97f3-7032-9a10-b41e8d599964"
_AT: Final = "2026-11-22T03:30:02.291Z"

VALUES: Final[dict[str, Any]] = {
    "request_id": "01a20144-97f3-7032-9a10-b41dcb00277a",
    "detail": "The token lacks the scope credentials:read.",
    "room": "standup",
    "client": "alice",
    "initiator_client": "alice",
    "receiver_client": "bob",
    "region": "eu-central",
    "fixed_region": "eu-central",
    "preferred_region": "us-east",
    "slug": "eu-central",
    "country": "DE",
    "nat2": "DE",
    "city": "Frankfurt",
    "lat": 50.11,
    "lon": 8.68,
    "latitude": 50.11,
    "longitude": 8.68,
    "url": "https://app.example/hooks/turn",
    "urls": ["turn:relay.example:3478?transport=udp", "turns:relay.example:443?transport=tcp"],
    "username": f"1795318202:{_ID}",
    "credential": "ZS9Vb0/ez5IjNfnnpRZwzRQ+Wj8=",
    "expiresAt": _AT,
    "client_address": "203.0.113.7",
    "room_url_template": "https://app.example/rooms/{room}",
    "client_url_template": "https://app.example/users/{client}",
    "name": "My app",
    "key": "standup",
    "organization": "acme",
    "project": "my-app",
    "prefix": "tfp_4Jx0aZk29QpL",
    "created_by": "bootstrap",
    "successor": None,
    "successor_id": None,
    "revoked_at": None,
    "ended_at": None,
    "end_reason": None,
    "next_cursor": None,
    "inactive_because": None,
    "failing_since": None,
    "failures": 0,
    "last_error": None,
    "failure": None,
    "last_status": 204,
    "secret": "whsec_MfKQ9r…",
    "events": ["credential.revoked", "allocation.ended"],
    "type": "credential.revoked",
    "selection": "nearest",
    "node_selection": "least-loaded",
    "transport": "udp",
    "rate_limit_per_second": 10_000,
    "max_ttl_seconds": 86_400,
    "max_allocations": None,
    "max_bits_per_second": None,
    "credential_max_allocations": None,
    "credential_max_bits_per_second": None,
    "bytes_from_client": 1_203_410,
    "bytes_to_client": 1_188_276,
    "bytes_total": 2_391_686,
    "bits_per_second": 96_000,
    "minutes": 12.5,
    "credentials": 12,
    "allocations": 8,
    "live_allocations": 2,
    "before": {"name": "My app"},
    "after": {"name": "Our app"},
    "JoinRequest.name": "relay-1",
    "JoinTokenBody.name": "relay-1",
    "JoinTokenView.name": "relay-1",
    "JoinTokenBody.replace": None,
    "JoinTokenBody.force": False,
    "JoinTokenView.replaces": None,
    "NodeDetail.token": {"generation": 3, "since_at": _AT, "next_offered_at": None},
    "HostFinding.name": "capacity",
    "HostFinding.state": "warning",
    "HostFinding.detail": "1 Gbit/s is assumed, as interface eth0 does not know its speed.",
    "HostFinding.remedy": "Set TURNFLEET_AGENT_CAPACITY_BITS_PER_SECOND to what the host can carry in each direction.",
    "listen_address": "10.0.0.5",
    "relay_address": "10.0.0.5",
    "external_address": "203.0.113.7",
    "seen_address": "203.0.113.7",
    "source_address": "203.0.113.7",
    "tls_fault": None,
    "hint": None,
    "HeartbeatReply.node_token": None,
    "NodeView.name": "relay-1",
    "NodeDetail.name": "relay-1",
    "FleetRegionView.name": "Europe",
    "RegionBody.name": "Europe",
    "RegionView.name": "Europe",
    "FleetEventView.node": "relay-1",
    "FleetEventView.kind": "node.health",
    "FleetEventView.was": "up",
    "FleetEventView.became": "down",
    "FleetEventView.reason": "lease_expired",
    "FleetEventView.detail": "Silent for 12 s.",
    "FleetEventView.actor": "system",
    "NodeHistory.name": "relay-1",
    "NodeHistory.events": [],
    "RegionHistory.events": [],
    "NodeHistoryPoint.health": "up",
    "NodeHistoryPoint.health_reason": "reporting",
    "NodeHistoryPoint.intent": "active",
    "RegionHistoryPoint.max_bits_per_second": 96_000.0,
    "RegionHistoryPoint.max_allocations": 8.0,
    "CredentialView.fixed_region": None,
    "AllocationView.state": "live",
    "UsageReport.allocations": [],
    "ProjectBody.slug": "my-app",
    "ProjectView.slug": "my-app",
    "OrganizationBody.slug": "acme",
    "OrganizationView.slug": "acme",
    "OrganizationBody.name": "Acme",
    "OrganizationView.name": "Acme",
    "OrganizationView.projects": 2,
    "TokenBody.kind": "project",
    "TokenView.kind": "project",
    "NewTokenView.kind": "project",
    "TokenView.id": "4Jx0aZk29QpL",
    "NewTokenView.id": "4Jx0aZk29QpL",
    "ask": [_ID],
    "ids": [_ID],
    "scopes": ["credentials:issue", "credentials:read"],
    "code": "scope_missing",
    "digest": "0f1e2d3c4b5a6978",
    "session_id": "000000000000000012",
    "boot_id": "Vv3kq0aN1c2d",
    "coturn_boot_id": "Vv3kq0aN1c2d",
    "join_nonce": "Vv3kq0aN1c2d",
    "join_token": "tfj_4fQ2…",
    "node_token": "tfn_9dK1…",
    "token": "tfp_7aB3…",
    "host": "relay.example",
    "reason": "moderator closed the room",
}
"""By field, or by Type.field, for those whose type alone would make a poor or an invalid example."""

_LEFT_OUT: Final = {"ProblemBody.errors", "IceReply.selection"}
"""Fields that an ordinary answer does not have."""


def example_of(kind: Any, *, name: str = "") -> Any:
    """A JSON value that `kind` accepts. `name` is the field or parameter that it is for."""
    return _example(inspect.type_info(kind), name)


def _name(struct: inspect.StructType, field: inspect.Field) -> str:
    return f"{struct.cls.__name__}.{field.encode_name}"


def _field(struct: inspect.StructType, field: inspect.Field) -> Any:
    if _name(struct, field) in VALUES:
        return VALUES[_name(struct, field)]
    return VALUES[field.encode_name] if field.encode_name in VALUES else _example(field.type, field.encode_name)


def _example(info: inspect.Type, name: str) -> Any:  # noqa: PLR0912 - one case per kind of type
    match info:
        case inspect.Metadata():
            return _example(info.type, name)
        case inspect.StructType():
            return {field.encode_name: _field(info, field) for field in info.fields if _name(info, field) not in _LEFT_OUT}
        case inspect.UnionType():
            return _example(next(each for each in info.types if not isinstance(each, inspect.NoneType)), name)
        case inspect.LiteralType():
            return info.values[0]
        case inspect.EnumType():
            return next(iter(info.cls)).value
        case inspect.BoolType():
            return True
    if name in VALUES:
        return VALUES[name]
    match info:
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            return [_example(info.item_type, name.removesuffix("s"))]
        case inspect.DictType():
            return {"up": 2} if isinstance(info.value_type, inspect.IntType) else {}
        case inspect.IntType():
            return int(_number(info, 30))
        case inspect.FloatType():
            return float(_number(info, 0.25))
        case inspect.DateTimeType():
            return _AT
        case inspect.UUIDType():
            return _ID
        case inspect.StrType():
            return _ID if name == "id" or name.endswith("_id") else _text(info, name)
        case _:
            return {}


def _number(info: inspect.IntType | inspect.FloatType, wanted: float) -> float:
    low = info.ge if info.ge is not None else wanted
    high = info.le if info.le is not None else max(wanted, low)
    return min(max(wanted, low), high)


def _text(info: inspect.StrType, name: str) -> str:
    text = name or "text"
    return text + "-" * max(0, (info.min_length or 0) - len(text))
