"""The overview of 50 regions and 500 nodes, as a dashboard on the same machine gets it: milliseconds, and compressed bytes.

Starts its own PostgreSQL, Redis and API. The goals are 20 ms and 30 kB, however much of the fleet is down.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from controlplane.api.overview import FRESH_SECONDS
from controlplane.postgres_store.migrate import migrate
from deploy.local.postgres import private_postgres
from deploy.local.redis_server import private_redis
from tests.bench._served_fleet import OVERVIEW, serving
from tests.running_api import RunningApi, running_api

GOAL_MILLISECONDS = 20.0
GOAL_BYTES = 30_000
_PAUSE_SECONDS = FRESH_SECONDS + 0.05
"""Each look is the first after the last one has become too old: none is of what was kept."""


async def look(api: RunningApi) -> tuple[float, bytes]:
    """(milliseconds, the body as it was sent)."""
    request = api.client.build_request("GET", OVERVIEW, headers={**api.bearer("operator"), "accept-encoding": "gzip"})
    began = time.perf_counter()
    answer = await api.client.send(request, stream=True)
    body = b"".join([chunk async for chunk in answer.aiter_raw()])
    taken = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        raise AssertionError(f"{answer.status_code} {body!r}")
    return taken, body


async def measure(*, regions: int, per_region: int, down: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-bench-") as name:
        async with private_postgres() as postgres, private_redis() as redis:
            await asyncio.to_thread(migrate, postgres.url)
            async with (
                running_api(postgres.url, redis.url, Path(name)) as api,
                serving(api, regions=regions, per_region=per_region, down=down),
            ):
                looks = []
                for _ in range(rounds):
                    looks.append(await look(api))
                    await asyncio.sleep(_PAUSE_SECONDS)
    taken = sorted(each for each, _ in looks)
    return {
        "nodes": regions * per_region,
        "down": regions * down,
        "compressed_bytes": max(len(body) for _, body in looks),
        "milliseconds": {"p50": round(taken[rounds // 2], 2), "p99": round(taken[int(rounds * 0.99)], 2)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/dev bench overview", description=__doc__)
    parser.add_argument("--regions", type=int, default=50)
    parser.add_argument("--per-region", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    met = True
    for down in (0, options.per_region // 2, options.per_region):
        found = asyncio.run(measure(regions=options.regions, per_region=options.per_region, down=down, rounds=options.rounds))
        met = met and found["milliseconds"]["p99"] <= GOAL_MILLISECONDS and found["compressed_bytes"] <= GOAL_BYTES
        print(json.dumps(found))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
