"""Organizations, projects, tokens and the audit, as they are managed over the API. Instants are RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

from controlplane.wire.fleet_api import Slug, Title

Scope = Literal[
    "credentials:issue",
    "credentials:read",
    "credentials:revoke",
    "usage:read",
    "projects:manage",
    "tokens:manage",
    "webhooks:manage",
    "fleet:read",
    "fleet:operate",
    "tenants:manage",
]
SCOPES: tuple[str, ...] = get_args(Scope)
"""In the order in which they are shown."""
OPERATOR_SCOPES: frozenset[str] = frozenset({"fleet:read", "fleet:operate", "tenants:manage"})
"""Only an operator token has these."""
TokenKind = Literal["project", "organization", "operator"]
AddressPolicy = Literal["keep", "truncate", "drop"]

Instant = Annotated[datetime, Meta(tz=True)]
TtlSeconds = Annotated[int, Meta(ge=1, le=86_400)]
RateLimit = Annotated[int, Meta(ge=1, le=1_000_000)]
"""Requests a second."""
UrlTemplate = Annotated[str, Meta(min_length=1, max_length=2000)]
MaxAllocations = Annotated[int, Meta(ge=1, le=1_000_000_000)]
MaxBits = Annotated[int, Meta(ge=1_000, le=10**15)]
TokenId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{12}\Z")]
AuditId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
OverlapSeconds = Annotated[int, Meta(ge=0, le=604_800)]
PageLength = Annotated[int, Meta(ge=1, le=500)]
SomeScopes = Annotated[list[Scope], Meta(min_length=1, max_length=100)]


class PageQuery(Struct, frozen=True, kw_only=True):
    limit: PageLength = 100
    cursor: str = ""
    """`next_cursor` of the page before."""


class OrganizationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /organizations."""

    slug: Slug
    name: Title


class OrganizationPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PATCH /organizations/{slug}: what is left out stays."""

    name: Title | UnsetType = UNSET


class OrganizationView(Struct, frozen=True, kw_only=True):
    slug: str
    name: str
    projects: int
    """How many."""
    created_at: datetime


class OrganizationList(Struct, frozen=True, kw_only=True):
    items: list[OrganizationView]
    next_cursor: str | None


class ProjectPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PATCH /projects/{slug}: what is left out stays; null switches a quota or a template off."""

    name: Title | UnsetType = UNSET
    max_ttl_seconds: TtlSeconds | UnsetType = UNSET
    rate_limit_per_second: RateLimit | UnsetType = UNSET
    room_url_template: UrlTemplate | UnsetType | None = UNSET
    client_url_template: UrlTemplate | UnsetType | None = UNSET
    is_default: bool | UnsetType = UNSET
    end_at_expiry: bool | UnsetType = UNSET
    client_address_policy: AddressPolicy | UnsetType = UNSET
    max_allocations: MaxAllocations | UnsetType | None = UNSET
    max_bits_per_second: MaxBits | UnsetType | None = UNSET
    credential_max_allocations: MaxAllocations | UnsetType | None = UNSET
    credential_max_bits_per_second: MaxBits | UnsetType | None = UNSET


class ProjectBody(ProjectPatch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /projects. `organization`: only an operator has to name it."""

    slug: Slug
    name: Title
    organization: Slug | UnsetType = UNSET


class ProjectQuery(Struct, frozen=True, kw_only=True):
    """Of one project. An operator has to name the organization."""

    organization: str | None = None


class ProjectListQuery(PageQuery, frozen=True, kw_only=True):
    organization: str | None = None


class ProjectView(Struct, frozen=True, kw_only=True):
    slug: str
    organization: str
    name: str
    max_ttl_seconds: int
    rate_limit_per_second: int
    room_url_template: str | None
    client_url_template: str | None
    is_default: bool
    end_at_expiry: bool
    client_address_policy: AddressPolicy
    max_allocations: int | None
    max_bits_per_second: int | None
    credential_max_allocations: int | None
    credential_max_bits_per_second: int | None
    created_at: datetime


class ProjectList(Struct, frozen=True, kw_only=True):
    items: list[ProjectView]
    next_cursor: str | None


class TokenBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /tokens. A token names what it may leave out only where it acts in several."""

    kind: TokenKind
    name: Title
    scopes: SomeScopes
    expires_at: Instant | None = None
    organization: Slug | UnsetType = UNSET
    project: Slug | UnsetType = UNSET


class TokenPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PATCH /tokens/{id}: what is left out stays; `expires_at` null: never."""

    name: Title | UnsetType = UNSET
    scopes: SomeScopes | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET


class RotateBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /tokens/{id}/rotate."""

    overlap_seconds: OverlapSeconds = 86_400


class TokenListQuery(PageQuery, frozen=True, kw_only=True):
    organization: str | None = None
    project: str | None = None
    kind: TokenKind | None = None


class TokenView(Struct, frozen=True, kw_only=True):
    id: TokenId
    prefix: str
    """What the token begins with: enough to recognise it by."""
    kind: TokenKind
    name: str
    organization: str | None
    project: str | None
    scopes: list[str]
    created_at: datetime
    created_by: str
    """The id of the token that made it, or `bootstrap`."""
    expires_at: datetime | None
    last_used_at: datetime | None
    """None: never, as far as was written down."""
    successor: str | None
    """The id of the token that it was rotated to."""


class NewTokenView(TokenView, frozen=True, kw_only=True):
    token: str
    """Shown here only."""


class TokenList(Struct, frozen=True, kw_only=True):
    items: list[TokenView]
    next_cursor: str | None


class AuditQuery(PageQuery, frozen=True, kw_only=True):
    """GET /fleet/audit."""

    organization: str | None = None
    actor: str | None = None
    """A token's id."""
    action: str | None = None
    since: Instant | None = field(default=None, name="from")
    until: Instant | None = field(default=None, name="to")


class AuditView(Struct, frozen=True, kw_only=True):
    id: AuditId
    at: datetime
    actor: str
    """The id of the token that asked for it."""
    actor_kind: str
    address: str | None
    """From where; None when it is not known."""
    request_id: str
    organization: str | None
    project: str | None
    action: str
    """`thing.verb`, as in project.patch."""
    object: str
    """The thing's slug or id."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditList(Struct, frozen=True, kw_only=True):
    items: list[AuditView]
    next_cursor: str | None
