"""Who may manage what: the one place where a token's reach over tenants is decided.

An operator token reaches every organization, an organization token its own, a project token its own project. What lies
outside does not exist for it. Scopes are checked by the routes' guard; here it is about whose objects they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from controlplane.flows.authenticate import AuthenticationError, Principal
from controlplane.postgres_store.tenants import live_token


class NotAllowedError(Exception):
    """The token has the scope of the call, but may not do this."""


class UnknownObjectError(Exception):
    """There is no such object, or it is another tenant's."""


class CollisionError(Exception):
    """It collides with something that exists, in words for whoever asked."""


_MAY_MAKE: Mapping[str, Collection[str]] = {
    "project": ("project",),
    "organization": ("project", "organization"),
    "operator": ("project", "organization", "operator"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The tenants that a token may see. None: all."""

    organization_id: UUID | None
    project_id: UUID | None
    operators: bool
    """The tokens of operators, too."""


def reach_of(principal: Principal) -> Reach:
    token = principal.token
    operators = token.kind == "operator" and principal.may("tenants:manage")
    return Reach(organization_id=token.organization_id, project_id=token.project_id, operators=operators)


def check_may_grant(principal: Principal, *, kind: str, scopes: Collection[str]) -> None:
    """A token gives away no more than it has itself. Raises NotAllowedError."""
    if kind not in _MAY_MAKE[principal.token.kind]:
        raise NotAllowedError(f"A token of the kind {principal.token.kind} cannot make one of the kind {kind}.")
    if kind == "operator" and not principal.may("tenants:manage"):
        raise NotAllowedError("Tokens of operators are made with the scope tenants:manage.")
    lacking = sorted(set(scopes) - principal.token.scopes)
    if lacking:
        raise NotAllowedError(f"The token lacks {', '.join(lacking)} itself, and gives away no scope that it lacks.")


async def as_of_now(connection: Any, principal: Principal, scope: str) -> Principal:
    """The principal as the database knows it inside a change, however old this replica's memory is.

    Raises AuthenticationError when its token was deleted meanwhile, NotAllowedError when it lost the scope of the call.
    """
    token = await live_token(connection, principal.token_id)
    if token is None:
        raise AuthenticationError("The API token is unknown or was deleted.")
    if scope not in token.scopes:
        raise NotAllowedError(f"The token lacks the scope {scope}.")
    return Principal(token=token)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(before, after) of the fields that a change touched, for the audit."""
    changed = [name for name in before if before[name] != after[name]]
    return {name: before[name] for name in changed}, {name: after[name] for name in changed}
