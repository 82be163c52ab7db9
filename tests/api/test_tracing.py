"""Traces of requests, as a collector gets them; and that nothing of it is loaded where it is off."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.redis_server import private_redis
from tests.running_api import MASTER_KEY, SimulatedNode, running_api, until

_CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
_ADDRESS = "8.8.4.4"


class Collector:
    """OTLP over HTTP: keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                assert lines[0].startswith("post /v1/traces ")
                self.requests.append(ExportTraceServiceRequest.FromString(body))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def attributes(self, name: str) -> list[dict[str, Any]]:
        return [
            {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
            for span in self.spans()
            if span.name == name
        ]


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, dict[str, str]]]:
    """A collector, and what a process needs to send to it."""
    collector = Collector()
    server = await asyncio.start_server(collector.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield (
            collector,
            {
                "TURNFLEET_TRACING": "on",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "NO_PROXY": "127.0.0.1",
            },
        )
    finally:
        server.close()


async def test_a_request_is_a_span_with_its_route_and_nothing_personal(database_url: str, redis_url: str, folder: Path) -> None:
    async with collecting() as (collector, environment), running_api(database_url, redis_url, folder, **environment) as api:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        issued = await api.issue(
            data={"room": "standup-of-alice", "initiator_client": "alice-in-person"},
            headers={"x-turn-client-ip": _ADDRESS, "traceparent": f"00-{_CALLER}-00f067aa0ba902b7-01"},
        )
        assert issued.status_code == 200
        await api.client.get("/api/v1/fleet/nodes/nobody-of-this-name", headers=api.bearer("operator"))
        await api.client.request("BREW", "/api/v1/regions", headers=api.bearer("project"))
        wanted = "GET /api/v1/fleet/nodes/{node_id}"

        async def is_there() -> bool:
            return any(404 in each.values() for each in collector.attributes(wanted))

        await until(is_there, what="the span has reached the collector")
        (span,) = [each for each in collector.spans() if each.trace_id.hex() == _CALLER]
        told = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
        assert span.name == "POST /api/v1/credentials/ice"
        assert told == {
            "http.request.method": "POST",
            "http.route": "/api/v1/credentials/ice",
            "http.response.status_code": 200,
            "turnfleet.request_id": issued.headers["x-request-id"],
            "turnfleet.region": "eu-central",
            "turnfleet.node": node.node_id,
            "turnfleet.selection": issued.headers["x-turn-selection"],
        }
        resource = {each.key: each.value.string_value for each in collector.requests[0].resource_spans[0].resource.attributes}
        assert (resource["service.name"], resource["deployment.environment.name"]) == ("turnfleet", "test")
        assert {
            each["http.request.method"] for each in (each for name in _names(collector) for each in collector.attributes(name))
        } <= {*("GET", "POST", "PUT", "_OTHER")}
        sent = b"".join(each.SerializeToString() for each in collector.requests)
        for secret in ("standup", "alice", _ADDRESS, "nobody-of-this-name", issued.json()["iceServers"][1]["credential"]):
            assert secret.encode() not in sent
        assert all(token.encode() not in sent for token in api.tokens.values())


def _names(collector: Collector) -> set[str]:
    return {span.name for span in collector.spans()}


async def test_a_line_of_the_log_has_its_request_and_its_trace(database_url: str, folder: Path) -> None:
    async with (
        collecting() as (_, environment),
        private_redis() as redis,
        running_api(database_url, redis.url, folder, **environment) as api,
    ):
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        await redis.stop()
        headers = {**api.bearer("operator"), "x-request-id": "forget-eu-1", "traceparent": f"00-{_CALLER}-00f067aa0ba902b7-01"}
        path = f"/api/v1/fleet/nodes/{node.node_id}?force=true"
        assert (await api.client.delete(path, headers=headers)).status_code == 204
        lines = [json.loads(line) for line in api.log_file.read_text().splitlines()]
        (line,) = [each for each in lines if each["event"] == "node_not_forgotten_by_redis"]
        assert (line["request_id"], line["trace_id"]) == ("forget-eu-1", _CALLER)
        assert all("request_id" not in each for each in lines if each["event"] in {"api_started", "fleet_view_blind"})


async def test_a_collector_that_is_away_holds_nothing_up(database_url: str, redis_url: str, folder: Path) -> None:
    async with collecting() as (_, environment):
        pass
    async with running_api(database_url, redis_url, folder, **environment) as api:
        for _ in range(20):
            assert (await api.client.get("/api/v1/regions", headers=api.bearer("project"))).status_code == 200
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await api.stop() == 0
        assert loop.time() - began < 12


async def python(code: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, output.decode()


async def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    """By us: the client library of Redis loads what of it is installed. So here nothing is."""
    blocked = "import sys; sys.modules['opentelemetry'] = None; import controlplane.commands; "
    code = blocked + "print('controlplane.telemetry.tracing' in sys.modules)"
    assert await python(code) == (0, "False\n")


async def test_without_the_extra_it_is_said_what_is_missing(folder: Path) -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; from controlplane.commands import cli; cli(['serve'])"
    status, output = await python(
        code,
        TURNFLEET_DATABASE_URL="postgresql://127.0.0.1:1/none",
        TURNFLEET_REDIS_URL="redis://127.0.0.1:1",
        TURNFLEET_MASTER_KEY=MASTER_KEY,
        TURNFLEET_STATE_DIR=str(folder),
        TURNFLEET_TRACING="on",
    )
    assert (status, output) == (2, "turnfleet: TURNFLEET_TRACING needs its extra: pip install 'turnfleet[server,otel]'\n")


async def test_the_sampler_is_opentelemetry_s(database_url: str, redis_url: str, folder: Path) -> None:
    async with collecting() as (collector, environment):
        async with running_api(database_url, redis_url, folder, **environment, OTEL_TRACES_SAMPLER="always_off") as api:
            assert (await api.client.get("/healthz")).status_code == 200
        assert collector.requests == []
