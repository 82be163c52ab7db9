"""The OpenAPI 3.1 document, made from what the routes say about themselves (api/describe.py) and the wire types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from litestar import Litestar
from msgspec import NODEFAULT
from msgspec.structs import fields

from controlplane import __version__
from controlplane.api.describe import EVERYWHERE, WITH_TOKEN, Description
from controlplane.api.openapi.examples import example_of
from controlplane.api.openapi.operations import Operation, operations
from controlplane.api.openapi.schemas import field_docs, schemas_of
from controlplane.wire.problem import PROBLEMS, ProblemBody

_TAGS = {
    "credentials": "ICE credentials for the best healthy relay, and taking them back.",
    "records": "Who got what and used how much: credentials, allocations, rooms, clients, usage.",
    "tenants": "Organizations, their projects, and the tokens that act in them.",
    "webhooks": "News that is sent to your server.",
    "fleet": "Regions and nodes, for operators and dashboards.",
    "agents": "What the agents on the relay hosts call, with node tokens.",
    "service": "Probes and documentation.",
}
_BODY = ("body_malformed", "body_too_large", "fields_invalid")
_RATE_LIMIT = {
    "RateLimit-Limit": "Requests a second.",
    "RateLimit-Remaining": "What is left of it now.",
    "RateLimit-Reset": "Seconds until there is more.",
}
_ABOUT = """An application asks for ICE credentials with one call and gets a TURN user name and password on the best healthy
relay for its caller. Errors are problem documents (RFC 9457) with a `code` from a closed list; every answer carries
`X-Request-Id`."""


def document_of(app: Litestar) -> dict[str, Any]:
    """The whole document. Raises KeyError for a route that does not describe itself."""
    every = operations(app)
    types = _Types(every)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    seen: set[str] = set()
    for operation in every:
        entry = _operation(operation, types)
        while entry["operationId"] in seen:  # the same call under a second path
            entry["operationId"] += "_alias"
        seen.add(entry["operationId"])
        paths[operation.path][operation.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "turnfleet",
            "version": __version__,
            "summary": "A control plane for fleets of coturn relays.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A project (tfp_), organization (tfo_) or operator token (tfx_) with the scope of the call.",
                },
                "nodeToken": {"type": "http", "scheme": "bearer", "description": "A node's own token (tfn_)."},
            },
            "schemas": types.components,
        },
    }


class _Types:
    """The schema of every type that an operation names, made in one go so that they share components."""

    def __init__(self, every: Iterable[Operation]) -> None:
        kinds: list[Any] = [ProblemBody]
        for operation in every:
            about = operation.description
            kinds += [kind for kind in (about.answer, about.body) if kind is not None]
            if about.query is not None:
                kinds += [field.type for field in fields(about.query)]
        self._kinds = kinds
        self._roots, self.components = schemas_of(kinds)

    def __getitem__(self, kind: Any) -> dict[str, Any]:
        return next(root for known, root in zip(self._kinds, self._roots, strict=True) if known is kind or known == kind)


def _operation(operation: Operation, types: _Types) -> dict[str, Any]:
    about = operation.description
    entry: dict[str, Any] = {
        "operationId": about.operation_id,
        "tags": [about.tag],
        "summary": about.summary,
        "parameters": [*_path_parameters(operation), *_project_parameters(about), *_query_parameters(about, types)],
        "responses": {str(about.status): _success(about, types), **_problems(_codes(operation), types)},
        "security": _security(about),
    }
    if about.body is not None:
        entry["requestBody"] = {
            "required": about.body_required,
            "content": {
                media_type: {"schema": types[about.body], "example": example_of(about.body)}
                for media_type in about.body_media_types
            },
        }
    return entry


def _security(about: Description) -> list[dict[str, list[str]]]:
    if about.scope is not None:
        return [{"token": [about.scope]}]
    return [{"nodeToken": []}] if about.node_token else []


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example_of(str, name=name)}
        for name in operation.parameters
    ]


def _project_parameters(about: Description) -> list[dict[str, Any]]:
    if not about.in_project:
        return []
    return [
        {
            "name": "X-Project",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The project's slug, for an organization token; ORGANIZATION/SLUG for an operator token. "
            "`project` in the query does the same.",
        }
    ]


def _query_parameters(about: Description, types: _Types) -> list[dict[str, Any]]:
    if about.query is None:
        return []
    docs = field_docs(about.query)
    found = []
    for field in fields(about.query):
        entry = {
            "name": field.encode_name,
            "in": "query",
            "required": field.default is NODEFAULT and field.default_factory is NODEFAULT,
            "schema": _without_null(types[field.type]),
        }
        if field.name in docs:
            entry["description"] = docs[field.name]
        found.append(entry)
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not sent is absent: there is no null in a query."""
    kept = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if not kept:
        return schema
    return kept[0] if len(kept) == 1 else {**schema, "anyOf": kept}


def _success(about: Description, types: _Types) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": about.summary, "headers": _headers(about)}
    if about.answer is not None:
        answer["content"] = {}
        for media_type in about.media_types:
            if media_type == "application/json":
                answer["content"][media_type] = {"schema": types[about.answer], "example": example_of(about.answer)}
            else:
                answer["content"][media_type] = {"schema": {"type": "string"}}
    return answer


def _headers(about: Description) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    told = {"X-Request-Id": "Quote it when something went wrong.", **about.headers}
    if about.scope is not None:
        told |= _RATE_LIMIT
    return {name: {"description": meaning, **text} for name, meaning in told.items()}


def _codes(operation: Operation) -> list[str]:
    """In the order of the closed list."""
    about = operation.description
    codes = {*EVERYWHERE, *about.problems}
    if about.scope is not None:
        codes |= set(WITH_TOKEN)
    if about.node_token:
        codes |= {"token_invalid", "store_unavailable"}
    if about.body is not None:
        codes |= set(_BODY)
    if about.query is not None:
        codes.add("fields_invalid")
    if operation.parameters:
        codes.add("not_found")
    if about.in_project:
        codes |= {"project_required", "project_unknown"}
    return [code for code in PROBLEMS if code in codes]


def _problems(codes: Sequence[str], types: _Types) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {PROBLEMS[code].meaning}" for code in group),
            "headers": {"X-Request-Id": {"schema": {"type": "string"}}}
            | ({"Retry-After": {"schema": {"type": "integer"}}} if PROBLEMS[group[0]].retry_after_seconds is not None else {}),
            "content": {
                "application/problem+json": {
                    "schema": types[ProblemBody],
                    "examples": {code: {"value": _problem_example(code)} for code in group},
                }
            },
        }
        for status, group in sorted(by_status.items())
    }


def _problem_example(code: str) -> dict[str, Any]:
    problem = PROBLEMS[code]
    return {
        "type": f"/docs/errors/{code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.meaning,
        "code": code,
        "request_id": example_of(str, name="request_id"),
    }
