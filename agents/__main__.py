"""`python -m agents` is `turnfleet-agent`."""

from __future__ import annotations

from agents.cli import run

if __name__ == "__main__":
    run()
