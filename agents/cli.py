"""The console script `turnfleet-agent`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from agents import AGENT_VERSION, host, log
from agents.errors import AgentError
from agents.settings import FIELDS, AgentSettings, from_environment

USAGE_ERROR = 2


def run(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0 after an orderly end, 1 when the agent cannot go on, 2 when its settings or arguments are wrong.

    `doctor` takes wrong settings for findings like others: 1 when something is wrong, else 0.
    """
    sys.exit(_main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    if chosen.command == "doctor":
        return _doctor(as_json=chosen.json)
    try:
        settings = _settings(os.environ)
    except AgentError as error:
        return _told(error, USAGE_ERROR)
    try:
        if chosen.command == "render-config":
            sys.stdout.write(rendered(settings, realm=chosen.realm))
        else:
            from agents.agent import serve

            log.configure(settings.log_level)
            asyncio.run(serve(settings))
    except AgentError as error:
        return _told(error, 1)
    except BaseExceptionGroup as group:
        known = group.subgroup(AgentError)
        if known is None:
            raise
        return _told(_leaf(known), 1)
    return 0


def _settings(environment: Mapping[str, str]) -> AgentSettings:
    return from_environment(
        environment,
        default_address=host.default_address,
        default_interface=host.default_interface,
        interfaces=host.interfaces,
    )


def _doctor(*, as_json: bool) -> int:
    from agents.doctor import show
    from agents.doctor.checks import diagnose
    from controlplane.wire.findings import exit_status

    found = diagnose(os.environ, _settings)
    sys.stdout.write(show.as_json(found) if as_json else show.as_table(found))
    return exit_status(found)


def rendered(settings: AgentSettings, *, realm: str | None) -> str:
    """The configuration that the agent would write now; the password is shown as what it is not."""
    from agents import identity
    from agents.agent import wanted
    from agents.coturn import config
    from agents.coturn.folder import Folder, find_owner
    from controlplane.wire.redacted import Redacted

    known = identity.load(settings.state_dir)
    of_realm = realm or (known.realm if known is not None else "realm-of-the-region")
    folder = Folder(root=settings.state_dir / "coturn")
    password, own = Redacted("made-at-the-first-start"), tuple(host.addresses())
    return config.render(wanted(settings, folder, find_owner(settings), password, own, of_realm))


def _parser() -> argparse.ArgumentParser:
    variables = "\n".join(f"  {doc.variable}  {doc.meaning}" for doc in FIELDS.values())
    parser = argparse.ArgumentParser(
        prog="turnfleet-agent",
        description="Drives coturn on a relay host for a turnfleet control plane.",
        epilog=f"Settings are environment variables:\n{variables}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"turnfleet-agent {AGENT_VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("run", help="join, start coturn, and report until told to end")
    doctor = commands.add_parser(
        "doctor",
        help="show what is found on this host and what is wrong, without joining or changing anything",
        description="Looks at settings, addresses, ports, coturn, capacity, the state folder, the certificate, the way to the "
        "control plane and the clock. Changes nothing; needs no token. Run it as the user that the agent runs as.",
        epilog="Exit status: 0 when nothing is wrong (there may be warnings), 1 when something is, 2 for wrong arguments.",
    )
    doctor.add_argument("--json", action="store_true", help="a list of findings: name, state (ok, warning, wrong), detail, remedy")
    render = commands.add_parser("render-config", help="print the coturn configuration that would be written")
    render.add_argument("--realm", help="default: the realm of the joined node")
    return parser


def _leaf(group: BaseExceptionGroup[AgentError]) -> AgentError:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


def _told(error: AgentError, code: int) -> int:
    sys.stderr.write(f"turnfleet-agent: {error}\n")
    return code
