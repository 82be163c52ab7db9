"""What the agent itself takes beside a real coturn with many live allocations: resident memory, and CPU of one core."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from controlplane.postgres_store.migrate import migrate
from controlplane.turn.client import TurnClient
from controlplane.wire.redacted import Redacted
from deploy.local.ports import reserve_ports
from deploy.local.postgres import private_postgres
from deploy.local.redis_server import private_redis
from tests.running_api import RunningApi, running_api, until

_AT_ONCE = 20


@asynccontextmanager
async def running_agent(api: RunningApi, folder: Path, base: int, allocations: int) -> AsyncIterator[int]:
    """The pid of an agent whose coturn serves and is eligible."""
    settings = {
        "URL": api.url,
        "JOIN_TOKEN": await api.join_token("eu-central"),
        "NAME": "bench-1",
        "STATE_DIR": str(folder / "agent"),
        "PUBLIC_HOST": "127.0.0.1",
        "LISTEN_ADDRESS": "127.0.0.1",
        "RELAY_ADDRESS": "127.0.0.1",
        "ALLOW_LOOPBACK_PEERS": "true",
        "PORT": str(base),
        "CLI_PORT": str(base + 1),
        "RELAY_PORTS": f"{base + 10}-{base + 110 + allocations}",
        "USER_QUOTA": "0",
        "CAPACITY_BITS_PER_SECOND": "1000000000",
        "LOG_LEVEL": "warning",
    }
    environment = os.environ | {f"TURNFLEET_AGENT_{name}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "agents", "run", env=environment)
    try:

        async def serves() -> bool:
            return (await api.issue(json={"fixed_region": "eu-central"})).status_code == 200

        await until(serves, what="the node serves")
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def hold_allocations(api: RunningApi, port: int, count: int) -> list[TurnClient]:
    answer = await api.issue(json={"fixed_region": "eu-central", "ttl": 600})
    turn = answer.json()["iceServers"][-1]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one() -> TurnClient:
        async with gate, asyncio.timeout(20):
            client = TurnClient(username=turn["username"], password=Redacted(turn["credential"]))
            await client.connect_udp("127.0.0.1", port)
            await client.allocate()
            return client

    return await asyncio.gather(*(one() for _ in range(count)))


async def measure(allocations: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-bench-") as name, reserve_ports(allocations + 200) as ports:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)  # coturn's account must be able to enter
        async with private_postgres() as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with running_api(postgres.url, redis.url, folder) as api:
                await api.put_region("eu-central")
                async with running_agent(api, folder, ports.base, allocations) as pid:
                    clients = await hold_allocations(api, ports.base, allocations)
                    agent = psutil.Process(pid)
                    before = sum(agent.cpu_times()[:2])
                    await asyncio.sleep(seconds)
                    used = sum(agent.cpu_times()[:2]) - before
                    node = await api.node("bench-1")
                    memory = agent.memory_info().rss
                    for client in clients:
                        client.close()
    return {
        "allocations_reported": node["load"]["allocations"],
        "cpu_percent_of_a_core": round(100 * used / seconds, 2),
        "resident_mebibytes": round(memory / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench agent", description=__doc__)
    parser.add_argument("--allocations", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.allocations, options.seconds))))


if __name__ == "__main__":
    main()
