"""A relay whose agent finds everything well, and that nobody reaches: its public address is not where it listens."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.stack import Stack
from tests.agents.places import LOOPBACK, free_port, open_folder
from tests.running_api import until

NOBODYS = "127.0.0.77"


async def call(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    bearer = {"authorization": f"Bearer {stack.ready['operator_token']}"}
    async with httpx.AsyncClient(base_url=stack.ready["api_url"], trust_env=False) as client:
        answer = await client.request(method, f"/api/v1/fleet/{path}", headers=bearer, json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def start_agent(stack: Stack, folder: Path, name: str) -> asyncio.subprocess.Process:
    token = (await call(stack, "POST", "join-tokens", {"region": "eu-central", "name": name}))["join_token"]
    port = free_port()
    ports = 5000 + port % 100 * 100
    with (folder / "agent.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agents", "run"),
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin",
                "TURNFLEET_AGENT_URL": stack.ready["api_url"],
                "TURNFLEET_AGENT_JOIN_TOKEN": token,
                "TURNFLEET_AGENT_NAME": name,
                "TURNFLEET_AGENT_STATE_DIR": str(folder / "state"),
                "TURNFLEET_AGENT_LISTEN_ADDRESS": LOOPBACK,
                "TURNFLEET_AGENT_PUBLIC_HOST": NOBODYS,
                "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
                "TURNFLEET_AGENT_PORT": str(port),
                "TURNFLEET_AGENT_CLI_PORT": str(free_port()),
                "TURNFLEET_AGENT_RELAY_PORTS": f"{ports}-{ports + 99}",
                "NO_PROXY": LOOPBACK,
            },
            stdout=log,
            stderr=log,
        )


@pytest.mark.full
async def test_a_relay_that_nobody_reaches_is_down_although_its_agent_finds_it_well(stack: Stack) -> None:
    name = "eu-central-unreached"
    with open_folder() as folder:
        agent = await start_agent(stack, folder, name)
        try:

            async def is_condemned() -> bool:
                nodes = {each["name"]: each for each in (await call(stack, "GET", "nodes"))["items"]}
                assert agent.returncode is None, (folder / "agent.log").read_text()
                return name in nodes and nodes[name]["health_reason"] == "outside_probe_failed"

            await until(is_condemned, within_seconds=60, what="the relay is condemned")
            node = await call(stack, "GET", f"nodes/{name}")
            for each in node["evidence"]:
                assert (each["heartbeat"]["ok"], each["agent"]["ok"], each["outside"]["failure"]) == (True, True, "refused")
            others = [each for each in (await call(stack, "GET", "nodes"))["items"] if each["name"] != name]
            assert {each["health"] for each in others} == {"up"}
        finally:
            agent.terminate()
            await asyncio.wait_for(agent.wait(), 20)
            await call(stack, "DELETE", f"nodes/{name}?force=true")
