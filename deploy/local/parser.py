"""The command line of `deploy/dev`. Standard library only: help is shown before anything is installed."""

import argparse
from pathlib import Path

from deploy.local.ports import DEFAULT_BASE
from deploy.local.regions import DEFAULT_REGIONS

__all__ = ["build_parser"]

DEFAULT_STATE = Path(__file__).resolve().parents[2] / ".dev"
TEST_HELP = """Runs the tests (pytest); every argument is handed on to pytest.

  deploy/dev test                    what CI runs: everything that must never break
  deploy/dev test --full             also the long ones: kill schedules, soaks, big fuzz runs
  deploy/dev test tests/fleet -k drain
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/dev",
        description="turnfleet on this machine: one command to run it, one to test it.",
        epilog="Before any command, --no-install refuses to install system packages or touch the Python environment.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--dir", type=Path, default=DEFAULT_STATE, metavar="DIR", help="folder of the state (default: .dev)")

    up = _command(commands, "up", "start everything on loopback and wait until it relays", parents=[place])
    up.add_argument("--detach", action="store_true", help="return when it is ready, and leave it running")
    up.add_argument(
        "--regions",
        type=_regions,
        default=DEFAULT_REGIONS,
        metavar="A,B,…",
        help=f"region slugs (default: {','.join(DEFAULT_REGIONS)})",
    )
    up.add_argument("--nodes-per-region", type=_positive, default=1, metavar="N", help="relays in each (default: 1)")
    up.add_argument(
        "--port-base", type=_positive, default=DEFAULT_BASE, metavar="N", help="first port (default: %(default)s, the API's)"
    )
    up.add_argument("--quiet", action="store_true", help="in the foreground: do not show the parts' logs")
    up.add_argument("--ready-descriptor", type=int, help=argparse.SUPPRESS)

    _command(commands, "down", "end everything that runs; the state is kept", parents=[place])
    status = _command(commands, "status", "what runs, with pids", parents=[place])
    status.add_argument("--json", action="store_true", help="for programs")
    logs = _command(commands, "logs", "the end of the logs", parents=[place])
    logs.add_argument("name", nargs="?", metavar="NAME", help="a part, or NODE:coturn (default: every part)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    logs.add_argument("-n", "--lines", type=_positive, default=40, metavar="N", help="how many (default: %(default)s)")
    stop = _command(commands, "stop", "end a part, which stays dead until `start`", parents=[place])
    stop.add_argument("target", metavar="NAME[:agent]", help="redis, postgres, api, jobs, a node, or a node's agent alone (killed)")
    start = _command(commands, "start", "start a part that was stopped", parents=[place])
    start.add_argument("target", metavar="NAME[:agent]", help="as for stop")

    # Only for the list and the help: __main__ hands the arguments of these on untouched.
    test = _command(commands, "test", "run the tests", description=TEST_HELP)
    test.formatter_class = argparse.RawDescriptionHelpFormatter
    _command(commands, "lint", "ruff, mypy, import-linter, shellcheck")
    bench = _command(commands, "bench", "run a benchmark, or list them")
    bench.add_argument("name", nargs="?", metavar="NAME", help="a module of tests/bench")
    bench.add_argument("arguments", nargs=argparse.REMAINDER, help="for the benchmark")
    _command(commands, "fresh", "prove that `up` works on a bare Debian (as root, in a folder of its own)")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    about: str,
    *,
    description: str | None = None,
    parents: list[argparse.ArgumentParser] | None = None,
) -> argparse.ArgumentParser:
    first, rest = about[0], about[1:]
    return commands.add_parser(
        name, help=about, description=description or f"{first.upper()}{rest}.", parents=parents or [], allow_abbrev=False
    )


def _regions(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number
