"""What a route says about itself: its scope for the guard, and all that the OpenAPI document needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EVERYWHERE = ("request_malformed", "internal_error")
WITH_TOKEN = ("token_invalid", "scope_missing", "rate_limited", "store_unavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One operation. Types are msgspec structs (or lists of them) of controlplane.wire."""

    operation_id: str
    tag: str
    summary: str
    scope: str | None
    in_project: bool
    """It acts in one project: X-Project or `project` name it."""
    answer: Any
    """None: no body."""
    status: int
    body: Any
    query: type | None
    problems: tuple[str, ...]
    """Codes beside those that every route, and every route with a token, may answer."""
    media_types: tuple[str, ...]
    body_required: bool
    body_media_types: tuple[str, ...]
    headers: Mapping[str, str]
    """Of the answer, with their meaning; X-Request-Id is on every one."""
    node_token: bool
    """For agents: a node token instead of a scope."""


def described(
    operation_id: str,
    *,
    tag: str,
    summary: str,
    scope: str | None,
    answer: Any = None,
    status: int = 200,
    body: Any = None,
    query: type | None = None,
    in_project: bool = False,
    problems: tuple[str, ...] = (),
    media_types: tuple[str, ...] = ("application/json",),
    body_required: bool = True,
    body_media_types: tuple[str, ...] = ("application/json",),
    headers: Mapping[str, str] | None = None,
    node_token: bool = False,
) -> dict[str, Any]:
    """A route's `opt`. `scope` is what `require_scope` checks; None for routes without a token."""
    return {
        "scope": scope,
        "description": Description(
            operation_id=operation_id,
            tag=tag,
            summary=summary,
            scope=scope,
            in_project=in_project,
            answer=answer,
            status=status,
            body=body,
            query=query,
            problems=problems,
            media_types=media_types,
            body_required=body_required,
            body_media_types=body_media_types,
            headers=headers or {},
            node_token=node_token,
        ),
    }
