"""Entry of `turnfleet` and `python -m controlplane`."""

from __future__ import annotations

import sys


def run() -> None:
    """The command line; a sentence where only the agent's dependencies are installed."""
    try:
        from controlplane.main import run as run_command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "controlplane":
            raise
        sys.exit(f"turnfleet: {error.name} is missing: the control plane needs its extra. pip install 'turnfleet[server]'")
    run_command()


if __name__ == "__main__":
    run()
