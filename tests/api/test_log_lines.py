"""What a running API and its jobs log: JSON alone, with the request's id where a request is the cause."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.redis_server import private_redis
from tests.running_api import SimulatedNode, running_api, until
from tests.running_jobs import jobs_process


async def test_every_line_is_json_and_names_its_request(database_url: str, folder: Path) -> None:
    async with private_redis() as redis, running_api(database_url, redis.url, folder) as api:
        async with jobs_process(api) as jobs:
            await until(jobs.leads, what="the jobs lead")
            await api.put_region("eu-central")
            node = SimulatedNode(api, "eu-1", "eu-central")
            await node.bring_up()
            await api.client.post("/api/v1/agents/heartbeat", content=b"{")
            await api.client.get("/nowhere")
            await redis.stop()
            headers = {**api.bearer("operator"), "x-request-id": "forget-eu-1"}
            forgotten = await api.client.delete(f"/api/v1/fleet/nodes/{node.node_id}?force=true", headers=headers)
            assert forgotten.status_code == 204
        assert await api.stop() == 0
        lines = [json.loads(line) for line in api.log_file.read_text().splitlines()]
        events = {each["event"] for each in lines}
        assert {"api_started", "jobs_leading", "fleet_view_blind", "api_stopped", "jobs_stopped"} <= events
        by_request = [each for each in lines if each["event"] == "node_not_forgotten_by_redis"]
        assert [each["request_id"] for each in by_request] == ["forget-eu-1"]
        assert {each["event"] for each in lines if "request_id" in each} == {"node_joined", "node_not_forgotten_by_redis"}
