"""The real API as a child process, and nodes that speak the real agent protocol without a coturn behind them."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from controlplane.flows.bootstrap import bootstrap
from controlplane.wire.agent_api import secret_digest
from deploy.local.ports import reserve_ports
from tests.databases import PatientDatabase

DEADLINE_SECONDS = 20.0
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


async def until(condition: Callable[[], Awaitable[bool]], *, within_seconds: float = DEADLINE_SECONDS, what: str = "") -> float:
    """Wait for a condition; the seconds it took. Fails with `what` at the deadline."""
    started = time.monotonic()
    while not await condition():
        if time.monotonic() - started > within_seconds:
            raise AssertionError(f"not within {within_seconds} s: {what or condition}")
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response:
    """The whole answer; of a stream of events, which goes on for minutes, only that it began."""
    answer = await client.send(client.build_request(method, path, **request), stream=True)
    try:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        return answer
    finally:
        await answer.aclose()


class RunningApi:
    """One `turnfleet serve`, with tokens of an organization `demo` with project `demo`."""

    def __init__(self, port: int, metrics_port: int, environment: dict[str, str], folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.environment = environment
        self.log_file = folder / "api.log"
        self.tokens: dict[str, str] = {}
        self.process: asyncio.subprocess.Process | None = None
        self.client = httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False)

    async def command(self, *arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controlplane", *arguments, env=self.environment, stdout=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    async def bootstrap(self) -> None:
        database = PatientDatabase(self.environment["TURNFLEET_DATABASE_URL"], connections=1)
        made = await bootstrap(database, organization="demo", project="demo")
        await database.close()
        self.tokens = {
            "organization_token": made.organization_token.reveal(),
            "project_token": made.project_token.reveal(),
            "operator_token": made.operator_token.reveal(),
        }

    async def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "controlplane", "serve", env=self.environment, stdout=log, stderr=log
            )
        await until(self._answers, what="the API answers /healthz; its log: " + self.log_file.read_text()[-2000:])

    async def _answers(self) -> bool:
        try:
            return (await self.client.get("/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    async def kill(self) -> None:
        """SIGKILL, as a power cut does it."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        if self.process is None:  # it never started: that error is the one to see
            return 0
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), DEADLINE_SECONDS)

    def bearer(self, kind: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[f'{kind}_token']}"}

    async def issue(self, *, token: str = "project", headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        return await self.client.post("/api/v1/credentials/ice", headers={**self.bearer(token), **(headers or {})}, **request)

    async def put_region(self, slug: str, latitude: float = 50.11, longitude: float = 8.68, country: str = "DE") -> None:
        body = {"name": slug, "city": "City", "country": country, "latitude": latitude, "longitude": longitude}
        answer = await self.client.put(f"/api/v1/fleet/regions/{slug}", headers=self.bearer("operator"), json=body)
        assert answer.status_code == 200, answer.text

    async def join_token(self, region: str, **body: Any) -> str:
        answer = await self.client.post(
            "/api/v1/fleet/join-tokens", headers=self.bearer("operator"), json={"region": region, **body}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["join_token"])

    async def node(self, name: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/fleet/nodes/{name}", headers=self.bearer("operator"))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


class SimulatedNode:
    """Speaks the agent protocol. `bring_up` makes it eligible; `keep_beating` keeps it so."""

    def __init__(self, api: RunningApi, name: str, region: str) -> None:
        self.api, self.name, self.region = api, name, region
        self.node_id = self.token = ""
        self.secrets: dict[int, str] = {}
        self.sequence = 0
        self.boot_id = f"boot-of-{name}"
        self.changes: dict[str, Any] = {}
        """Fields of the heartbeat that differ from a healthy node's."""
        self._beating: asyncio.Task[None] | None = None

    async def join(self) -> None:
        answer = await self.api.client.post(
            "/api/v1/agents/join",
            json={"join_token": await self.api.join_token(self.region), "join_nonce": "nonce-nonce", "name": self.name},
        )
        assert answer.status_code == 200, answer.text
        self.node_id, self.token = answer.json()["node_id"], answer.json()["node_token"]

    def heartbeat(self) -> dict[str, Any]:
        self.sequence += 1
        beat: dict[str, Any] = {
            "boot_id": self.boot_id,
            "sequence": self.sequence,
            "sent_at": time.time(),
            "coturn": {"state": "running", "version": "4.6.1", "boot_id": "coturn-boot-1"},
            "load": {
                "receive_bits_per_second": 0,
                "transmit_bits_per_second": 0,
                "receive_packets_per_second": 0,
                "transmit_packets_per_second": 0,
                "allocations": 0,
                "cpu_ratio": 0.01,
                "memory_ratio": 0.1,
                "open_files": 20,
                "open_files_limit": 1024,
            },
            "capacity": {"bits_per_second": 1e9, "allocations": 10_000, "source": "stated"},
            "listeners": [
                {"transport": "udp", "host": "127.0.0.1", "port": 3478},
                {"transport": "tcp", "host": "127.0.0.1", "port": 3478},
                {"transport": "tls", "host": "127.0.0.1", "port": 5349},
            ],
            "secrets": [{"version": version, "digest": secret_digest(text)} for version, text in self.secrets.items()],
            "probe": {"ok": True, "age_seconds": 0.5, "listeners": []},
        }
        return beat | self.changes

    async def send(self, beat: dict[str, Any]) -> httpx.Response:
        return await self.api.client.post("/api/v1/agents/heartbeat", headers={"authorization": f"Bearer {self.token}"}, json=beat)

    async def beat(self) -> dict[str, Any]:
        answer = await self.send(self.heartbeat())
        assert answer.status_code == 200, answer.text
        reply = dict(answer.json())
        if reply["secrets"] is not None:
            known = self.secrets | {each["version"]: each["secret"] for each in reply["secrets"]}
            if known.keys() >= set(reply["secret_versions"]):  # else, as the agent does, it keeps what it has
                self.secrets = {version: known[version] for version in reply["secret_versions"]}
        return reply

    async def bring_up(self) -> None:
        await self.join()
        for _ in range(3):
            await self.beat()
        await until(self.is_up, what=f"{self.name} is up")

    async def is_up(self) -> bool:
        """Eligible, and in the table that selection reads (which is rebuilt a moment later)."""
        if not (await self.api.node(self.name))["eligible"]:
            return False
        answer = await self.api.issue(json={"fixed_region": self.region})
        return answer.status_code == 200

    def keep_beating(self) -> None:
        async def beat_for_ever() -> None:
            while True:
                with suppress(httpx.TransportError, AssertionError):  # the API is away: that is what the test is about
                    await self.beat()
                await asyncio.sleep(1.0)

        self._beating = asyncio.create_task(beat_for_ever())

    async def stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None


@asynccontextmanager
async def running_api(database_url: str, redis_url: str, folder: Path, **environment: str) -> AsyncIterator[RunningApi]:
    """A started API on a migrated database."""
    with reserve_ports(2) as ports:
        variables = {
            **os.environ,
            "TURNFLEET_DATABASE_URL": database_url,
            "TURNFLEET_REDIS_URL": redis_url,
            "TURNFLEET_MASTER_KEY": MASTER_KEY,
            "TURNFLEET_STATE_DIR": str(folder / "state"),
            "TURNFLEET_API_PORT": str(ports.base),
            "TURNFLEET_METRICS_PORT": str(ports.base + 1),
            # Simulated nodes have nothing behind them that could be reached.
            "TURNFLEET_OUTSIDE_PROBE_SECONDS": "0",
            **environment,
        }
        api = RunningApi(ports.base, ports.base + 1, variables, folder)
        try:
            await api.bootstrap()
            await api.start()
            yield api
        finally:
            await api.stop()
            await api.client.aclose()
