"""The leader's look at the fleet without its surroundings: PostgreSQL away, a term that follows another, nodes that go."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from controlplane.fleet.model import Listener, Transport
from controlplane.fleet.outside import Blame, ProberPlace, Standing
from controlplane.fleet.policy import Policy
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.outside_watch import OutsideWatch
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.probe_node import NodeProber
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.redis_store.live_state import LiveState
from controlplane.redis_store.outside import OutsideStore
from controlplane.telemetry.metrics import Metrics
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, free_port
from tests.builders import AT, make_node, make_record, make_region, make_report
from tests.running_api import MASTER_KEY, until

NODE = str(UUID(int=7))
NO_DATABASE = "postgresql://turnfleet@127.0.0.1:1/turnfleet"


class Term:
    """A leader of one node, which reports well and where nothing listens."""

    def __init__(self, redis_url: str) -> None:
        self.keeper = FleetKeeper(LiveState.connect(redis_url), Policy())
        self.store = OutsideStore.connect(redis_url)
        self.metrics = Metrics()
        self.database = Database(NO_DATABASE, acquire_seconds=0.2)
        self.listeners = (Listener(transport=Transport.UDP, host=LOOPBACK, port=free_port()),)
        self.sequence = 0
        self.keeper.view.set_directory([make_region()], [make_node(NODE)])
        self.keeper.read_at = time.monotonic()

    @asynccontextmanager
    async def begun(self, *, epoch: int) -> AsyncIterator[FleetProber]:
        prober = NodeProber(NodeSecrets(MasterKeys(Redacted(MASTER_KEY))), ca_file=None)
        made = FleetProber(prober, self.keeper, self.store, self.database, self.metrics, every_seconds=1, epoch=epoch)
        try:
            yield made
        finally:
            await made.end()

    def report(self) -> None:
        self.sequence += 1
        record = make_record(report=make_report(sequence=self.sequence, listeners=self.listeners))
        self.keeper.view.put_record(NODE, record, received=time.monotonic())

    async def tick(self, prober: FleetProber) -> bool:
        """Whether PostgreSQL had to be asked, and did not answer."""
        self.report()
        try:
            await prober.tick()
        except DatabaseUnavailableError:
            return True
        return False


@asynccontextmanager
async def term(redis_url: str) -> AsyncIterator[Term]:
    made = Term(redis_url)
    try:
        yield made
    finally:
        await made.store.close()
        await made.database.close()


async def test_without_postgresql_replicas_know_all_the_same_and_the_event_waits(redis_url: str) -> None:
    async with term(redis_url) as one:
        async with one.begun(epoch=1) as prober:
            await until(lambda: one.tick(prober), within_seconds=20, what="there is an event to tell")
            assert await one.tick(prober)  # it waits still
        replica = FleetKeeper(LiveState.connect(redis_url), Policy()).view
        watch = OutsideWatch(OutsideStore.connect(redis_url), replica)
        await watch.read_once()
        outside = replica.outside_of(NODE, now=time.monotonic())
        assert outside is not None
        assert outside.standing is Standing.FAILED
        assert replica.outside_of(NODE, now=time.monotonic() + 301) is None
        await watch.close()


async def test_a_new_term_goes_on_with_what_the_one_before_knew(redis_url: str) -> None:
    async with term(redis_url) as one:
        watch = OutsideWatch(one.store, one.keeper.view)
        async with one.begun(epoch=1) as first:

            async def condemned() -> bool:
                await one.tick(first)
                await watch.read_once()
                outside = one.keeper.view.outside_of(NODE, now=time.monotonic())
                return outside is not None and outside.failures >= 3

            await until(condemned, within_seconds=20, what="the node failed three times")
        before = (await one.store.changed_since(0)).nodes[0][1]
        async with one.begun(epoch=2) as second:

            async def tried_again() -> bool:
                await one.tick(second)
                return (await one.store.changed_since(0)).nodes[0][1].probed_at > before.probed_at

            await until(tried_again, within_seconds=20, what="the node had a turn")
        assert (await one.store.changed_since(0)).nodes[0][1].failures > before.failures


async def test_a_node_that_is_forgotten_is_forgotten_by_redis(redis_url: str) -> None:
    async with term(redis_url) as one, one.begun(epoch=1) as prober:

        async def seen() -> bool:
            await one.tick(prober)
            return bool((await one.store.changed_since(0)).nodes)

        await until(seen, within_seconds=20, what="the node was tried")
        one.keeper.view.set_directory([make_region()], [])
        await prober.tick()
        assert (await one.store.changed_since(0)).nodes == []


@pytest.mark.parametrize("ours", [True, False])
async def test_a_new_term_begins_with_the_blame_of_the_one_before(redis_url: str, ours: bool) -> None:
    async with term(redis_url) as one:
        one.keeper.view.prober = (ProberPlace(ours=ours, since=AT, failing=4, tried=10), time.monotonic())
        async with one.begun(epoch=1) as prober:
            assert (prober.blame is Blame.OURS) is ours
