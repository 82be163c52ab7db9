"""The real jobs as a child process."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from deploy.local.ports import reserve_ports
from tests.running_api import RunningApi


class JobsProcess:
    def __init__(self, process: asyncio.subprocess.Process, metrics_port: int) -> None:
        self.process = process
        self._metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"

    async def leads(self) -> bool:
        return "turnfleet_jobs_leading 1.0" in await self._metrics()

    async def answers(self) -> bool:
        """It runs, and may be a candidate."""
        return bool(await self._metrics())

    async def _metrics(self) -> str:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(self._metrics_url)).text
        except httpx.TransportError:
            return ""


@asynccontextmanager
async def jobs_process(api: RunningApi) -> AsyncIterator[JobsProcess]:
    with reserve_ports(1) as ports, api.log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "controlplane",
            "jobs",
            env=api.environment | {"TURNFLEET_METRICS_PORT": str(ports.base)},
            stderr=log,
        )
        try:
            yield JobsProcess(process, ports.base)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            await asyncio.wait_for(process.wait(), 10)
