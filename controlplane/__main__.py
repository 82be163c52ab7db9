"""`python -m controlplane`."""

from __future__ import annotations

from controlplane.main import run

run()
