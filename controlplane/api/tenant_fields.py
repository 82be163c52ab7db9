"""What the routes of organizations, projects and tokens share: fields that a type alone cannot judge, and the views."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

from msgspec import UNSET, Struct

from controlplane.api.problems import ProblemError
from controlplane.flows.authenticate import Principal
from controlplane.postgres_store.organizations import Organization
from controlplane.postgres_store.tenants import Project
from controlplane.postgres_store.tokens import TokenRecord
from controlplane.wire.fleet_api import is_slug
from controlplane.wire.problem import FieldError
from controlplane.wire.tenants_api import (
    OPERATOR_SCOPES,
    SCOPES,
    AddressPolicy,
    OrganizationView,
    ProjectView,
    TokenKind,
    TokenView,
)
from controlplane.wire.token_format import token_prefix

_NO_URL_CHARACTER = re.compile(r"[\x00-\x20\x7f\\<>\"]")
_LAST_YEAR = 2099
"""Of an expiry: a later one is a slip of the pen, and far later ones no clock can compare."""


def wrong_field(field: str, message: str) -> ProblemError:
    """fields_invalid about one field."""
    return ProblemError("fields_invalid", f"{field} {message}.", errors=[FieldError(field=field, message=message)])


def given_in(body: Struct, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields that were sent: null is a value, absence is none."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__ if name not in but}
    return {name: value for name, value in fields.items() if value is not UNSET}


def check_slug(slug: str, what: str) -> str:
    """A slug of the address. What cannot be one names nothing."""
    if not is_slug(slug):
        raise ProblemError("not_found", f"There is no {what} of that slug.")
    return slug


def named_organization(principal: Principal, organization: str | None) -> str | None:
    """The organization that was named. An operator has to name one: its token belongs to none."""
    if organization is None and principal.token.kind == "operator":
        raise wrong_field("organization", "must be named, with its slug: an operator token acts in every organization")
    return organization


def check_templates(settings: dict[str, Any]) -> None:
    """URL templates become links that people click on: http or https, with their placeholder."""
    for field, placeholder in (("room_url_template", "{room}"), ("client_url_template", "{client}")):
        template = settings.get(field)
        if template is not None and not _is_link(template, placeholder):
            raise wrong_field(field, f"must be an http or https URL that contains {placeholder}")


def _is_link(template: str, placeholder: str) -> bool:
    if placeholder not in template or _NO_URL_CHARACTER.search(template):
        return False
    try:
        parts = urlsplit(template)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def check_expiry(expires_at: datetime | None) -> datetime | None:
    if expires_at is None:
        return None
    if expires_at.year > _LAST_YEAR or expires_at <= datetime.now(UTC):
        raise wrong_field("expires_at", f"must be in the future, and before the year {_LAST_YEAR + 1}")
    return expires_at.astimezone(UTC)


def in_utc(field: str, at: datetime) -> datetime:
    """Near the ends of the calendar an instant of another zone may have no name in UTC."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise wrong_field(field, "is no instant that can be compared") from None


def check_scopes(scopes: Sequence[str], kind: str) -> list[str]:
    """Each once, in the order in which they are shown."""
    above = OPERATOR_SCOPES & set(scopes)
    if above and kind != "operator":
        raise wrong_field("scopes", f"cannot have {', '.join(sorted(above))}: only a token of an operator has these")
    return [scope for scope in SCOPES if scope in scopes]


def to_organization_view(organization: Organization) -> OrganizationView:
    return OrganizationView(
        slug=organization.slug, name=organization.name, projects=organization.projects, created_at=organization.created_at
    )


def to_project_view(project: Project) -> ProjectView:
    return ProjectView(
        slug=project.slug,
        organization=project.organization_slug,
        name=project.name,
        max_ttl_seconds=project.max_ttl_seconds,
        rate_limit_per_second=project.rate_limit_per_second,
        room_url_template=project.room_url_template,
        client_url_template=project.client_url_template,
        is_default=project.is_default,
        end_at_expiry=project.end_at_expiry,
        client_address_policy=cast("AddressPolicy", project.client_address_policy),
        max_allocations=project.max_allocations,
        max_bits_per_second=project.max_bits_per_second,
        credential_max_allocations=project.credential_max_allocations,
        credential_max_bits_per_second=project.credential_max_bits_per_second,
        created_at=project.created_at,
    )


def to_token_view(token: TokenRecord) -> TokenView:
    return TokenView(
        id=token.token_id,
        prefix=token_prefix(token.kind, token.token_id),
        kind=cast("TokenKind", token.kind),
        name=token.name,
        organization=token.organization_slug,
        project=token.project_slug,
        scopes=list(token.scopes),
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        successor=token.successor_id,
    )
