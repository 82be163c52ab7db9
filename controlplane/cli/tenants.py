"""turnfleet project, and turnfleet organization."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import UNSET

from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.session import Session
from controlplane.client.tenants import Organizations, Projects
from controlplane.wire.tenants_api import AddressPolicy, ProjectBody, ProjectPatch

project = group("Projects: make, change and delete them.")
organization = group("Organizations; for operator tokens.")

_PROJECTS = (
    "slug!0 organization:2 name:1 is_default=default:3 max_ttl_seconds=max_ttl>3 rate_limit_per_second=rate_limit>4 created_at!4"
)
_ORGANIZATIONS = "slug!0 name:1 projects>2 created_at!3"
Slug = Annotated[str, typer.Argument(metavar="SLUG")]
InOrganization = Annotated[str | None, typer.Option(help="In this organization; for operator tokens.")]

MaxTtl = Annotated[int | None, typer.Option(help="Longest time to live of a credential, in seconds.")]
RateLimit = Annotated[int | None, typer.Option(help="Requests a second.")]
RoomUrl = Annotated[str | None, typer.Option(help="Template of the link back to a room.")]
ClientUrl = Annotated[str | None, typer.Option(help="Template of the link back to a client.")]
Default = Annotated[bool | None, typer.Option("--default/--no-default", help="The project of tokens that name none.")]
EndAtExpiry = Annotated[
    bool | None,
    typer.Option("--end-at-expiry/--outlive-expiry", help="Whether live allocations end when their credential expires."),
]
Addresses = Annotated[AddressPolicy | None, typer.Option(help="What is kept of end users' addresses.")]
MaxAllocations = Annotated[int | None, typer.Option(help="Most live allocations of the project.")]
MaxBits = Annotated[int | None, typer.Option(help="Most that the project relays, in bits per second.")]
CredentialAllocations = Annotated[int | None, typer.Option(help="Most live allocations of one credential.")]
CredentialBits = Annotated[int | None, typer.Option(help="Most that one credential relays, in bits per second.")]
Off = Annotated[
    list[str] | None,
    typer.Option(
        "--off",
        metavar="SETTING",
        help="Switch off: room-url, client-url, max-allocations, max-bits-per-second, credential-max-allocations or "
        "credential-max-bits-per-second. Can be given several times.",
    ),
]
_FIELDS = {
    "room-url": "room_url_template",
    "client-url": "client_url_template",
    "max-allocations": "max_allocations",
    "max-bits-per-second": "max_bits_per_second",
    "credential-max-allocations": "credential_max_allocations",
    "credential-max-bits-per-second": "credential_max_bits_per_second",
}


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


@command(project, "list")
def list_projects(run: Session, *, organization: InOrganization = None, limit: Limit = 100) -> None:
    """The projects that your token may act in."""
    run.many(Projects.list(organization=organization), _PROJECTS, limit=limit)


@command(project, "show")
def show_project(run: Session, slug: Slug, *, organization: InOrganization = None) -> None:
    """One project with its settings."""
    run.one(Projects.show(slug, organization=organization))


@command(project, "create")
def create_project(
    run: Session,
    slug: Slug,
    *,
    name: Annotated[str | None, typer.Option(help="For people. Not given: the slug.")] = None,
    organization: InOrganization = None,
    max_ttl: MaxTtl = None,
    rate_limit: RateLimit = None,
    room_url: RoomUrl = None,
    client_url: ClientUrl = None,
    default: Default = None,
    end_at_expiry: EndAtExpiry = None,
    addresses: Addresses = None,
    max_allocations: MaxAllocations = None,
    max_bits_per_second: MaxBits = None,
    credential_max_allocations: CredentialAllocations = None,
    credential_max_bits_per_second: CredentialBits = None,
) -> None:
    """Make a project."""
    settings = _given(
        max_ttl_seconds=max_ttl,
        rate_limit_per_second=rate_limit,
        room_url_template=room_url,
        client_url_template=client_url,
        is_default=default,
        end_at_expiry=end_at_expiry,
        client_address_policy=addresses,
        max_allocations=max_allocations,
        max_bits_per_second=max_bits_per_second,
        credential_max_allocations=credential_max_allocations,
        credential_max_bits_per_second=credential_max_bits_per_second,
    )
    run.one(Projects.create(ProjectBody(slug=slug, name=name or slug, organization=organization or UNSET, **settings)))


@command(project, "patch")
def patch_project(
    run: Session,
    slug: Slug,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    organization: InOrganization = None,
    max_ttl: MaxTtl = None,
    rate_limit: RateLimit = None,
    room_url: RoomUrl = None,
    client_url: ClientUrl = None,
    default: Default = None,
    end_at_expiry: EndAtExpiry = None,
    addresses: Addresses = None,
    max_allocations: MaxAllocations = None,
    max_bits_per_second: MaxBits = None,
    credential_max_allocations: CredentialAllocations = None,
    credential_max_bits_per_second: CredentialBits = None,
    off: Off = None,
) -> None:
    """Change a project. What is not given stays."""
    settings = _given(
        name=name,
        max_ttl_seconds=max_ttl,
        rate_limit_per_second=rate_limit,
        room_url_template=room_url,
        client_url_template=client_url,
        is_default=default,
        end_at_expiry=end_at_expiry,
        client_address_policy=addresses,
        max_allocations=max_allocations,
        max_bits_per_second=max_bits_per_second,
        credential_max_allocations=credential_max_allocations,
        credential_max_bits_per_second=credential_max_bits_per_second,
    )
    for switched in off or []:
        if switched not in _FIELDS:
            raise RefusedHereError(f"--off {switched}: it is one of {', '.join(_FIELDS)}.")
        if _FIELDS[switched] in settings:
            raise RefusedHereError(f"--off {switched} and --{switched} exclude each other.")
    settings |= {_FIELDS[switched]: None for switched in off or []}
    run.one(Projects.update(slug, ProjectPatch(**settings), organization=organization))


@command(project, "delete")
def delete_project(run: Session, slug: Slug, *, organization: InOrganization = None, yes: Yes = False) -> None:
    """Delete a project; its tokens end with it."""
    run.confirm(f"Delete the project {slug}, with its tokens?", yes=yes)
    run.done(Projects.delete(slug, organization=organization), f"The project {slug} is deleted.")


@command(organization, "list")
def list_organizations(run: Session, *, limit: Limit = 100) -> None:
    """Every organization."""
    run.many(Organizations.list(), _ORGANIZATIONS, limit=limit)


@command(organization, "show")
def show_organization(run: Session, slug: Slug) -> None:
    """One organization."""
    run.one(Organizations.show(slug))


@command(organization, "create")
def create_organization(
    run: Session, slug: Slug, *, name: Annotated[str | None, typer.Option(help="For people. Not given: the slug.")] = None
) -> None:
    """Make an organization, without projects."""
    run.one(Organizations.create(slug, name=name or slug))


@command(organization, "patch")
def patch_organization(run: Session, slug: Slug, *, name: Annotated[str, typer.Option(help="The new name.")]) -> None:
    """Give an organization another name."""
    run.one(Organizations.update(slug, name=name))


@command(organization, "delete")
def delete_organization(run: Session, slug: Slug, *, yes: Yes = False) -> None:
    """Delete an organization, with its projects and tokens."""
    run.confirm(f"Delete the organization {slug}, with all its projects and tokens?", yes=yes)
    run.done(Organizations.delete(slug), f"The organization {slug} is deleted.")
