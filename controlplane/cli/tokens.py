"""turnfleet token."""

from __future__ import annotations

from typing import Annotated, get_args

import typer
from msgspec import UNSET

from controlplane.cli.choices import chosen, completing
from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.instants import Expires
from controlplane.cli.session import Session, note
from controlplane.client.tokens import Tokens
from controlplane.wire.tenants_api import Scope, TokenKind

token = group("Tokens: make, change, rotate and delete them.")

_SCOPES: tuple[Scope, ...] = get_args(Scope)
_COLUMNS = "id!0 name:1 kind:2 project:3 scopes!5 last_used_at=last_used!2 expires_at!3"
_ONCE = "This token is shown only now."
Organization = Annotated[str | None, typer.Option(help="Of this organization; for operator tokens.")]
Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope", autocompletion=completing(_SCOPES), help=f"What it may do: {', '.join(_SCOPES)}. Can be given several times."
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The token's id: the 12 characters behind its prefix.")]


def _place(project: str | None) -> tuple[str | None, str | None]:
    """(organization, project) of `SLUG` or `ORGANIZATION/SLUG`."""
    organization, _, slug = (project or "").rpartition("/")
    return organization or None, slug or None


@command(token, "list")
def list_tokens(
    run: Session,
    *,
    organization: Organization = None,
    kind: Annotated[TokenKind | None, typer.Option(help="Of this kind.")] = None,
    limit: Limit = 100,
) -> None:
    """The tokens that yours may manage, never what they are."""
    in_organization, in_project = _place(run.named_project)
    run.many(Tokens.list(organization=organization or in_organization, project=in_project, kind=kind), _COLUMNS, limit=limit)


@command(token, "create")
def create(
    run: Session,
    name: Annotated[str, typer.Argument(help="What people recognise it by.")],
    *,
    scope: Scopes,
    kind: Annotated[TokenKind, typer.Option(help="What it acts in.")] = "project",
    expires: Expires = None,
    organization: Annotated[str | None, typer.Option(help="For this organization; for operator tokens.")] = None,
) -> None:
    """Make a token. It is shown once, and cannot have a scope that yours lacks."""
    in_organization, in_project = _place(run.client.configuration.project) if kind == "project" else (None, None)
    call = Tokens.create(
        name,
        chosen(scope, _SCOPES),
        kind=kind,
        expires_at=expires,
        organization=organization or in_organization or UNSET,
        project=in_project or UNSET,
    )
    run.one(call, order=("token",))
    note(_ONCE)


@command(token, "show")
def show(run: Session, token_id: Id) -> None:
    """One token: its scopes, when it was used last, when it expires."""
    run.one(Tokens.show(token_id))


@command(token, "patch")
def patch(
    run: Session,
    token_id: Id,
    *,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", autocompletion=completing(_SCOPES), help="All that it may do from now on. Can be given several times."
        ),
    ] = None,
    expires: Expires = None,
    never_expires: Annotated[bool, typer.Option("--never-expires", help="It has no end any more.")] = False,
) -> None:
    """Change a token. What is not given stays."""
    if expires is not None and never_expires:
        raise RefusedHereError("--expires and --never-expires exclude each other.")
    expires_at = None if never_expires else UNSET if expires is None else expires
    run.one(
        Tokens.update(
            token_id, name=UNSET if name is None else name, scopes=chosen(scope, _SCOPES) if scope else UNSET, expires_at=expires_at
        )
    )


@command(token, "rotate")
def rotate(
    run: Session,
    token_id: Id,
    *,
    overlap: Annotated[int, typer.Option(min=0, help="Seconds that the old one still works.")] = 86_400,
) -> None:
    """Make a successor of a token. It is shown once."""
    run.one(Tokens.rotate(token_id, overlap_seconds=overlap), order=("token",))
    note(_ONCE)


@command(token, "delete")
def delete(run: Session, token_id: Id, *, yes: Yes = False) -> None:
    """End a token: within a second it is refused everywhere."""
    run.confirm(f"Delete the token {token_id}?", yes=yes)
    run.done(Tokens.delete(token_id), f"The token {token_id} is deleted.")
