"""Trying a big fleet from outside, as the leader does: nodes a second, how late the last one is, and what a node costs.

Starts its own Redis and one coturn that stands for all nodes, and shares the machine's processors with it: every turn is an
allocation and an echo through UDP, TCP and TLS. The goal is that no node is late: 10,000 in 60 seconds are 167 a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter

from agents.prober import targets
from controlplane.fleet.model import Listener, Transport
from controlplane.fleet.policy import Policy
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.outside_room import make_room
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.probe_node import NodeProber
from controlplane.postgres_store.database import Database
from controlplane.redis_store.live_state import LiveState
from controlplane.redis_store.outside import OutsideStore
from controlplane.telemetry.metrics import Metrics
from controlplane.wire.redacted import Redacted
from deploy.local.redis_server import private_redis
from tests.agents.places import LOOPBACK, SECRET, make_settings, open_folder
from tests.agents.relay import relay
from tests.builders import make_node, make_record, make_region, make_report
from tests.running_api import MASTER_KEY

GOAL_LATEST_SECONDS = 2.0
_NOBODY = "postgresql://turnfleet@127.0.0.1:1/turnfleet"
"""Nothing happens that would be an event."""


class _OneSecret(NodeSecrets):
    """All nodes are one coturn."""

    def signing_key(self, node_id: str, version: int, key_id: str | None) -> bytes:
        return SECRET.reveal().encode()


async def measure(*, nodes: int, every_seconds: int, seconds: float) -> dict[str, Any]:
    make_room()
    with open_folder() as folder:
        settings = make_settings(folder, tls=True, relay_ports=(20_000, 29_999))
        async with relay(settings), private_redis() as redis:
            listeners = tuple(
                Listener(transport=Transport(each.transport), host=LOOPBACK, port=each.port) for each in targets(settings)
            )
            keeper, metrics = FleetKeeper(LiveState.connect(redis.url), Policy()), Metrics()
            fleet = [make_node(str(UUID(int=number + 1))) for number in range(nodes)]
            keeper.view.set_directory([make_region()], fleet)
            for node in fleet:
                keeper.view.put_record(
                    node.node_id, make_record(report=make_report(listeners=listeners)), received=time.monotonic()
                )
            keeper.read_at = time.monotonic()
            prober = NodeProber(_OneSecret(MasterKeys(Redacted(MASTER_KEY))), ca_file=settings.ca_file)
            store, database = OutsideStore.connect(redis.url), Database(_NOBODY)
            term = FleetProber(prober, keeper, store, database, metrics, every_seconds=every_seconds, epoch=1)
            latest = 0.0
            # The first round begins slowly, so that a fleet is not tried all at once: what is measured is the second.
            begun = ended = _used(metrics)
            until = time.monotonic() + every_seconds + seconds
            while time.monotonic() < until:
                await term.tick()
                keeper.view.columns.received_at[:] = time.monotonic()
                if until - time.monotonic() > seconds:
                    begun = _used(metrics)
                ended = _used(metrics)
                latest = max(latest, metrics.outside_late_seconds._value.get())
                await asyncio.sleep(1)
            await term.end()
            await store.close()
            await database.close()
    tried, failing, wall, cpu = (after - before for after, before in zip(ended, begun, strict=True))
    return {
        "nodes": nodes,
        "every_seconds": every_seconds,
        "nodes_per_second": round(tried / wall, 1),
        "needed_per_second": round(nodes / every_seconds, 1),
        "latest_seconds": round(latest, 1),
        "cpu_milliseconds_per_node": round(1000 * cpu / tried, 2),
        "failing": int(failing),
        "failures_of_both_rounds": _counted(metrics.outside_failures),
    }


def _used(metrics: Metrics) -> tuple[float, float, float, float]:
    """(nodes that were tried, those of them that failed, seconds, seconds of the processor)."""
    tried = _counted(metrics.outside_probes)
    return sum(tried.values()), tried.get("fails", 0), time.monotonic(), time.process_time()


def _counted(counter: Counter) -> dict[str, float]:
    return {
        " ".join(each.labels.values()): each.value
        for family in counter.collect()
        for each in family.samples
        if each.name.endswith("_total")
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/dev bench outside", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=60, help="seconds")
    parser.add_argument("--seconds", type=float, default=60, help="measured, after the first round")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = asyncio.run(measure(nodes=options.nodes, every_seconds=options.every, seconds=options.seconds))
    print(json.dumps(found))
    return 0 if found["latest_seconds"] <= GOAL_LATEST_SECONDS and found["failing"] <= options.nodes / 1000 else 1


if __name__ == "__main__":
    sys.exit(main())
