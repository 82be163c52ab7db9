"""An API that was used: one region with one node, a room with two clients, a credential, an allocation; and the jobs."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.running_api import DEADLINE_SECONDS, RunningApi, SimulatedNode, running_api, until

ROOM = "standup"
BYTES_FROM_CLIENT, BYTES_TO_CLIENT = 1_234_567, 7_654_321


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    api: RunningApi
    credential_id: str
    node_id: str


@asynccontextmanager
async def used_api(database_url: str, redis_url: str) -> AsyncIterator[Used]:
    folder = Path(tempfile.mkdtemp(prefix="turnfleet-used-"))
    async with running_api(database_url, redis_url, folder, TURNFLEET_WEBHOOK_PRIVATE_TARGETS="127.0.0.1") as api, _jobs(api):
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        node.keep_beating()
        try:
            fields = {"room": ROOM, "initiator_client": "alice", "receiver_client": "bob", "ttl": 600}
            answer = await api.issue(json=fields)
            assert answer.status_code == 200, answer.text
            credential_id = answer.headers["x-credential-id"]
            await _relay(node, credential_id)
            await until(lambda: _is_summed_up(api), what="the room is listed with its allocation and its bytes")
            yield Used(api=api, credential_id=credential_id, node_id=node.node_id)
        finally:
            await node.stop_beating()
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _jobs(api: RunningApi) -> AsyncIterator[None]:
    environment = {**api.environment, "TURNFLEET_METRICS_PORT": "0"}
    with api.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controlplane", "jobs", env=environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), DEADLINE_SECONDS)


async def _relay(node: SimulatedNode, credential_id: str) -> None:
    """What the agent tells of one allocation, from begin to end."""
    now = time.time()
    report = {
        "coturn_boot_id": "coturn-boot-1",
        "session_id": "000000000000000001",
        "started_at": now - 90,
        "ended_at": now,
        "end_reason": "deleted by the client",
        "revision": 1,
        "credential_id": credential_id,
        "client_address": "198.51.100.7",
        "transport": "udp",
        "bytes_from_client": BYTES_FROM_CLIENT,
        "bytes_to_client": BYTES_TO_CLIENT,
    }
    answer = await node.api.client.post(
        "/api/v1/agents/usage", headers={"authorization": f"Bearer {node.token}"}, json={"allocations": [report]}
    )
    assert answer.status_code == 200, answer.text


async def _is_summed_up(api: RunningApi) -> bool:
    answer = await api.client.get(f"/api/v1/rooms/{ROOM}", headers=api.bearer("project"))
    return answer.status_code == 200 and answer.json()["bytes_total"] == BYTES_FROM_CLIENT + BYTES_TO_CLIENT
