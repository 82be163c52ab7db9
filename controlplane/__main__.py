"""Entry of `turnfleet` and `python -m controlplane`."""

from __future__ import annotations

import sys
from typing import NoReturn

ON_SERVERS = {
    "serve": "Run the API: one process per core, each with its own journal.",
    "jobs": "Run the scheduled jobs. Start as many as you like: one of them leads.",
    "admin": "What has to be done beside the database: once, or at an upgrade.",
    "sim": "Try a fleet in virtual time: compare policies, ask what if.",
    "openapi": "Print the API's OpenAPI 3.1 document, as GET /openapi.json serves it.",
}
"""Those of controlplane.commands, which takes a second to load and needs what only servers have."""


def run() -> None:
    """The command line; a sentence where what it needs is not installed."""
    try:
        from controlplane.cli.app import make_cli, run_cli
    except ModuleNotFoundError as error:
        _say_what_is_missing(
            error, "the command line alone: pip install 'turnfleet[cli]'; all of it: pip install 'turnfleet[server]'"
        )
    run_cli(make_cli(ON_SERVERS, _run_on_server))


def _run_on_server(arguments: list[str]) -> None:
    try:
        from controlplane.commands import cli
    except ModuleNotFoundError as error:
        _say_what_is_missing(error, "running a control plane needs its extra: pip install 'turnfleet[server]'")
    sys.exit(cli(arguments, prog_name="turnfleet"))


def _say_what_is_missing(error: ModuleNotFoundError, remedy: str) -> NoReturn:
    if error.name is None or error.name.split(".")[0] == "controlplane":
        raise error
    sys.exit(f"turnfleet: {error.name} is missing; {remedy}")


if __name__ == "__main__":
    run()
