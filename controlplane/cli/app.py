"""The commands, put together; and what happens when one fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

import typer

import controlplane.cli.history
import controlplane.cli.node_probe
import controlplane.cli.region_roll  # noqa: F401 - these add their commands to `turnfleet node` and `turnfleet region`
from controlplane import __version__
from controlplane.cli import (
    credentials,
    doctor,
    events,
    fleet,
    login,
    netcheck,
    node_intents,
    regions,
    relay_test,
    secret_rotation,
    status,
    subjects,
    tenants,
    tokens,
    webhooks,
)
from controlplane.cli.command import command
from controlplane.cli.exit_codes import status_of, words_of
from controlplane.cli.words import clean
from controlplane.client.errors import TurnfleetError

_ON_SERVERS = "On servers"
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def make_cli(on_servers: Mapping[str, str], run_on_server: Callable[[list[str]], None]) -> typer.Typer:
    """The whole command line. The commands of `on_servers` (name → help) get their arguments handed over, unread."""
    cli = typer.Typer(
        name="turnfleet",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="A control plane for fleets of coturn relays.",
        epilog="Exit status: 0 done, 1 refused or failed, 2 wrong command, 3 not allowed, 4 not found, 5 try again later.",
    )
    cli.add_typer(credentials.cred, name="cred")
    cli.add_typer(credentials.allocation, name="allocation")
    cli.add_typer(subjects.room, name="room")
    cli.add_typer(subjects.client, name="client")
    command(cli, "usage")(subjects.usage)
    cli.add_typer(webhooks.webhook, name="webhook")
    cli.add_typer(regions.region, name="region")
    cli.add_typer(tokens.token, name="token")
    cli.add_typer(tenants.project, name="project")
    cli.add_typer(tenants.organization, name="organization")
    cli.add_typer(node_intents.node, name="node")
    cli.add_typer(fleet.fleet, name="fleet")
    cli.add_typer(secret_rotation.secret, name="secret")
    cli.add_typer(events.events, name="events")
    command(cli, "audit")(fleet.audit)
    command(cli, "status")(status.status)
    command(cli, "doctor")(doctor.doctor)
    command(cli, "relay-test")(relay_test.relay_test)
    command(cli, "netcheck")(netcheck.netcheck)
    cli.command("login")(login.login)
    cli.command("logout")(login.logout)
    cli.add_typer(login.profile, name="profile")
    cli.command("version")(version)
    for name, about in on_servers.items():
        cli.command(name, help=about, rich_help_panel=_ON_SERVERS, add_help_option=False, context_settings=_PASSED_ON)(
            _passed_on(name, run_on_server)
        )
    return cli


def _passed_on(name: str, run_on_server: Callable[[list[str]], None]) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        run_on_server([name, *context.args])

    return run


def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def run_cli(cli: typer.Typer) -> NoReturn:
    """Run it and exit. A failure is a sentence on stderr and a status, never a traceback."""
    try:
        cli(prog_name="turnfleet")
    except TurnfleetError as error:
        for line in words_of(error):
            typer.echo(clean(line), err=True)
        sys.exit(status_of(error))
    sys.exit(0)
