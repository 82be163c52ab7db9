"""turnfleet login, logout and profile: which control plane, with which token."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from controlplane.cli.command import group
from controlplane.cli.exit_codes import NOT_FOUND, RefusedHereError
from controlplane.cli.profiles import Profile, file_path, read_file, write_file
from controlplane.cli.session import emit, note
from controlplane.cli.tables import columns, print_table
from controlplane.client.errors import PermissionDeniedError

profile = group("Profiles: several control planes or tokens side by side.")
_TOKEN_LONGEST = 4096
_LOCAL = ("127.0.0.1", "localhost", "::1")

Name = Annotated[str, typer.Option("--profile", help="The profile's name.")]


def login(
    url: Annotated[str, typer.Option(help="Of the control plane: https://turn.example.org")],
    name: Name = "default",
    project: Annotated[
        str | None, typer.Option(help="Act in this project unless a command names another: its slug, or ORGANIZATION/SLUG.")
    ] = None,
    ca_file: Annotated[str | None, typer.Option(help="PEM file of the authorities to verify the server against.")] = None,
) -> None:
    """Check a token and keep it. It is asked for, or read from stdin: an argument would be seen by others."""
    from controlplane.client.client import Client

    token = _read_token()
    ca_path = os.path.abspath(ca_file) if ca_file else None  # noqa: PTH100 - the file is named from any folder later
    with Client(url, token, project=project, ca_file=ca_path, user_agent="turnfleet-cli") as client:
        with suppress(PermissionDeniedError):  # a good token, which may not list regions
            client.regions.list()
        base = client.configuration.url
    parts = urlsplit(base)
    if parts.scheme == "http" and parts.hostname not in _LOCAL:
        note(f"{base} is not encrypted: the token can be read on its way. Use https://.")
    path = file_path()
    file = read_file(path)
    file.profiles[name] = Profile(url=base, token=token, project=project, ca_file=ca_path)
    file.current = name
    write_file(path, file)
    note(f"Logged in to {base}. The profile {name} is kept in {path}.")


def _read_token() -> str:
    """From the terminal without showing it, else the first line of stdin. Raises RefusedHereError."""
    token = (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline(_TOKEN_LONGEST)).strip()
    if not token:
        raise RefusedHereError("No token was given. Type it when it is asked for, or pass it in: turnfleet login --url … < FILE")
    return token


def logout(name: Name = "default") -> None:
    """Forget a profile and its token. The token itself stays good until it is deleted."""
    path = file_path()
    file = read_file(path)
    if file.profiles.pop(name, None) is None:
        note(f"turnfleet: There is no profile {name!r}.")
        raise typer.Exit(NOT_FOUND)
    if file.current == name:
        file.current = next(iter(file.profiles), None)
    write_file(path, file)
    note(f"The profile {name} is forgotten." + (f" {file.current} is used from now on." if file.current else ""))


@profile.command("list")
def list_profiles(
    *, json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per profile, without tokens.")] = False
) -> None:
    """The profiles, never their tokens."""
    file = read_file(file_path())
    rows = [
        {"name": name, "url": each.url, "project": each.project, "current": name == file.current}
        for name, each in file.profiles.items()
    ]
    if json:
        for row in rows:
            emit(msgspec.json.encode(row))
    elif rows:
        print_table(
            columns("name!0 url:1 project:2 current:1"),
            [[str(row["name"]), str(row["url"]), str(row["project"] or "-"), "yes" if row["current"] else ""] for row in rows],
        )
    else:
        note("There are no profiles. Log in with: turnfleet login --url https://…")


@profile.command("use")
def use_profile(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Use this profile when nothing names another."""
    path = file_path()
    file = read_file(path)
    if name not in file.profiles:
        note(f"turnfleet: There is no profile {name!r}; there are: {', '.join(file.profiles) or 'none'}.")
        raise typer.Exit(NOT_FOUND)
    file.current = name
    write_file(path, file)
    note(f"{name} is used from now on.")
