"""The issuing route beside a bare Litestar GET on the same kind of server, in the same run.

Both servers run at once on core 0, wrk and the stores on the others; each round visits both. A ratio is the median over the
rounds of ratios within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from controlplane.postgres_store.migrate import migrate
from deploy.local.ports import reserve_ports
from deploy.local.postgres import private_postgres
from deploy.local.redis_server import private_redis
from tests.bench._wrk import Load, wrk
from tests.running_api import RunningApi, SimulatedNode, running_api, until

_LUA = """wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "{content_type}"
wrk.headers["X-TURN-CLIENT-IP"] = "193.0.6.139"
wrk.body = [[{body}]]
"""
_BODIES = {
    "issue, JSON": ("application/json", '{"room":"room-1","initiator_client":"a","receiver_client":"b","ttl":60}'),
    "issue, form": ("application/x-www-form-urlencoded", "room=room-1&initiator_client=a&receiver_client=b&ttl=60"),
}
BARE = "bare Litestar GET"


async def measure(*, rounds: int, seconds: int, connections: int, nodes: int) -> dict[str, list[tuple[Load, float]]]:
    """Per name, per round: the load and the server's CPU microseconds per request."""
    with tempfile.TemporaryDirectory(prefix="turnfleet-bench-") as name:
        folder = Path(name)
        async with private_postgres(durable=True) as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with running_api(postgres.url, redis.url, folder, TURNFLEET_LOG_LEVEL="warning") as api:
                await _fleet(api, nodes)
                with reserve_ports(1) as ports:
                    bare = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench._bare_server", str(ports.base))
                    try:
                        return await _rounds(api, bare.pid, ports.base, folder, rounds, seconds, connections)
                    finally:
                        bare.terminate()
                        await bare.wait()


async def _fleet(api: RunningApi, nodes: int) -> None:
    await api.put_region("eu-central")
    await api.put_region("us-east", 39.04, -77.49, "US")
    # What is measured is issuing, not refusing.
    limit = {"rate_limit_per_second": 1_000_000}
    answer = await api.client.patch("/api/v1/projects/demo", headers=api.bearer("organization"), json=limit)
    assert answer.status_code == 200, answer.text
    for number in range(nodes):
        node = SimulatedNode(api, f"node-{number}", ("eu-central", "us-east")[number % 2])
        # The credentials of a benchmark never become load; so big a node is not filled by them.
        node.changes = {"capacity": {"bits_per_second": 1e13, "allocations": 100_000_000, "source": "stated"}}
        await node.bring_up()
        node.keep_beating()


async def _rounds(
    api: RunningApi, bare_pid: int, bare_port: int, folder: Path, rounds: int, seconds: int, connections: int
) -> dict[str, list[tuple[Load, float]]]:
    assert api.process is not None
    targets: dict[str, tuple[str, Path | None, int]] = {BARE: (f"http://127.0.0.1:{bare_port}/", None, bare_pid)}
    for name, (content_type, body) in _BODIES.items():
        script = folder / f"{name.replace(', ', '-')}.lua"
        script.write_text(_LUA.format(token=api.tokens["project_token"], content_type=content_type, body=body))
        targets[name] = (f"{api.url}/api/v1/credentials/ice", script, api.process.pid)
    for pid in (bare_pid, api.process.pid):
        with suppress(AttributeError, psutil.Error):  # macOS cannot pin
            psutil.Process(pid).cpu_affinity([0])
    await until(lambda: _answers(bare_port))
    other_core = 1 if (psutil.cpu_count() or 1) > 1 else None
    measured: dict[str, list[tuple[Load, float]]] = {name: [] for name in targets}
    for number in range(rounds):
        for name in list(targets)[:: 1 if number % 2 == 0 else -1]:
            url, lua, pid = targets[name]
            before = sum(psutil.Process(pid).cpu_times()[:2])
            load = await wrk(url, seconds=seconds, connections=connections, script=lua, cpu=other_core)
            used = sum(psutil.Process(pid).cpu_times()[:2]) - before
            measured[name].append((load, used / max(1, load.requests) * 1e6))
            print(f"  round {number + 1}: {name}: {load.per_second:,.0f} requests/s", file=sys.stderr)
    return measured


async def _answers(port: int) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        with suppress(httpx.TransportError):
            return (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    return False


def report(measured: dict[str, list[tuple[Load, float]]]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, loads in measured.items():
        ratios = [load.per_second / bare.per_second for (load, _), (bare, _) in zip(loads, measured[BARE], strict=True)]
        rows.append(
            {
                "what": name,
                "requests_per_second": round(statistics.median(load.per_second for load, _ in loads)),
                "ratio_to_bare": round(statistics.median(ratios), 2),
                "p50_milliseconds": round(statistics.median(load.p50_milliseconds for load, _ in loads), 2),
                "p99_milliseconds": round(statistics.median(load.p99_milliseconds for load, _ in loads), 2),
                "cpu_microseconds_per_request": round(statistics.median(cpu for _, cpu in loads), 1),
                "failures": sum(load.failures for load, _ in loads),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench issue", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each visit")
    parser.add_argument("--connections", type=int, default=48)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = report(
        asyncio.run(measure(rounds=options.rounds, seconds=options.seconds, connections=options.connections, nodes=options.nodes))
    )
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'what':<20}{'requests/s':>12}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU us/request':>16}{'failures':>10}")
    for row in rows:
        print(
            f"{row['what']:<20}{row['requests_per_second']:>12,}{row['ratio_to_bare']:>8}{row['p50_milliseconds']:>9}"
            f"{row['p99_milliseconds']:>9}{row['cpu_microseconds_per_request']:>16}{row['failures']:>10}"
        )


if __name__ == "__main__":
    main()
