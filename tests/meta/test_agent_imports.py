"""The agent must stay light: what a relay host installs and loads."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

REASONS = {
    "litestar": "a web framework",
    "redis": "a store of the control plane",
    "asyncpg": "a store of the control plane",
    "apscheduler": "scheduled work of the control plane",
    "uvicorn": "a web server",
    "alembic": "migrations",
    "sqlalchemy": "migrations",
    "maxminddb": "GeoIP is the control plane's",
    "prometheus_client": "the control plane's metrics",
    "cryptography": "15 MB of memory, and the agent derives nothing",
    "typer": "the control plane's command line",
}


def test_the_agent_loads_no_server_package() -> None:
    program = "import agents.cli, sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    loaded = set(json.loads(output))
    assert {name: reason for name, reason in REASONS.items() if name in loaded} == {}


def test_the_agent_loads_no_room_but_the_wire_and_the_turn_client() -> None:
    program = "import agents.cli, sys, json; print(json.dumps([name for name in sys.modules if name.startswith('controlplane.')]))"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert all(name.startswith(("controlplane.wire", "controlplane.turn")) for name in json.loads(output))


def test_the_base_dependencies_are_few() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("[")[0] for requirement in project["dependencies"]}
    assert names == {"aioice", "httpx", "msgspec", "structlog"}
