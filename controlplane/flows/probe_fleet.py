"""The leader's look at the whole fleet from outside: each node in its turn, at an even pace, and what follows from it.

A turn relays a packet through every listener of a node. What was seen goes to all replicas through Redis, where it counts for
five minutes; every one of them, this process included, judges nodes by what it reads there.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from controlplane.fleet.model import Node, NodeRecord
from controlplane.fleet.outside import Blame, Outside, PeersSeen, ProberPlace, Sight, Spotted, Standing, advance, blame_of
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.outside_news import as_seen, peers_event, place_event, standing_event
from controlplane.flows.outside_turns import Turns
from controlplane.flows.probe_node import NodeProbed, NodeProber
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.events import FleetEvent, insert_events
from controlplane.redis_store.outside import OutsideStore, OutsideUnavailableError
from controlplane.telemetry.metrics import Metrics
from controlplane.turn.forbidden import PeersTried

MOST_AT_ONCE = 512
"""Nodes. A silent one takes DEADLINE_SECONDS: of 10,000 nodes, a tenth of them silent and tried every 7 s, some 430 are."""
DEADLINE_SECONDS = 3.0
"""For each listener: a packet is sent at 0, 0.2, 0.6 and 1.4 s."""
SOONEST_SECONDS, SOON_SECONDS = 5.0, 10.0
"""When a node is tried again that failed, or whose agent has fallen silent."""
_SILENT_SECONDS = 300.0
"""An agent that is silent for longer is no news."""
_SPARE = 2.0
"""The pace is that of so many turns a node: failing nodes take more than one."""
_SLOWEST_PACE_SECONDS = 0.25
_IDLE_SECONDS = 0.1
_MADE_UP_FOR = 16
"""Turns."""
_PEERS_EVERY = timedelta(hours=1)
_PEERS_PAUSE_SECONDS = 0.25
"""Between two nodes that are asked for forbidden peers, each of whom takes some fifty packets: 14,400 an hour."""
_TURN_SECONDS = 30.0
"""Longer than the deadlines inside a turn together."""
_TRUST_SECONDS = 60.0
_PLACE_SECONDS = 30.0
"""So often the place is told although nothing has changed."""
_HASTEN_SECONDS = 2.0
_TOLD_AT_ONCE = 500
_MOST_EVENTS = 20_000
"""That wait for PostgreSQL."""

log = structlog.get_logger()


class FleetProber:
    """One leader's term. `tick` each second, `end` with the term."""

    def __init__(
        self,
        prober: NodeProber,
        keeper: FleetKeeper,
        store: OutsideStore,
        database: Database,
        metrics: Metrics,
        *,
        every_seconds: float,
        epoch: int,
    ) -> None:
        self._prober = prober
        self._keeper = keeper
        self._store = store
        self._database = database
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._epoch = epoch
        self._turns = Turns()
        self._known: dict[str, Outside] = {}
        self._roster: set[str] = set()
        self._unwritten: dict[str, Outside] = {}
        self._events: deque[FleetEvent] = deque(maxlen=_MOST_EVENTS)
        self._place = keeper.view.prober_place(now=time.monotonic())
        """As the leader before told it, at first."""
        self.blame = Blame.OURS if self._place is not None and self._place.ours else Blame.NODE
        self._place_told = self._trusted = self._hastened = self._peers_asked = float("-inf")
        self._context: ssl.SSLContext | None = None
        self._not_told = ""
        self._free = asyncio.Semaphore(MOST_AT_ONCE)
        self._loop: asyncio.Task[None] | None = None

    async def tick(self) -> None:
        """Take in who there is, judge the place, tell what was seen. Raises DatabaseUnavailableError."""
        if self._keeper.read_at is None:
            return
        now = time.monotonic()
        if now - self._trusted > _TRUST_SECONDS:
            self._trusted, self._context = now, await self._prober.trust()
        await self._call_the_roll(now)
        if self._loop is None or self._loop.done():
            ended, self._loop = self._loop, asyncio.create_task(self._probe_forever(), name="outside-probes")
            if ended is not None:
                ended.result()  # it ends by an error alone, which is told as this job's
        self._judge_the_place(now)
        self._gauge(now)
        await self._tell(now)

    async def end(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        self._metrics.forget_outside()

    async def _call_the_roll(self, now: float) -> None:
        """New nodes have their first turn: at the term's begin spread over the time of a round, later ones soon."""
        view = self._keeper.view
        roster = set(view.records())
        for node_id in roster - self._roster:
            seen = view.outside_of(node_id, now=now)
            if seen is not None:
                self._known[node_id] = seen
            is_urgent = seen is not None and (seen.sight is Sight.FAILS or seen.standing is not Standing.GOOD)
            most = SOONEST_SECONDS if self._roster or is_urgent else len(roster) * _SLOWEST_PACE_SECONDS
            self._turns.put(node_id, now + random.uniform(0, min(most, self._every_seconds)))  # noqa: S311 - spreads turns
        gone = self._roster - roster
        for node_id in gone:
            self._turns.drop(node_id)
            self._known.pop(node_id, None)
            self._unwritten.pop(node_id, None)
        self._roster = roster
        if gone:
            try:
                await self._store.forget(list(gone))
            except OutsideUnavailableError as error:
                log.debug("outside_not_forgotten", reason=str(error))  # it grows old there, and counts for nothing

    async def _probe_forever(self) -> None:
        """A constant queue: one turn is begun after the other, at the pace; a loop that was busy makes up for a few."""
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._free.acquire()
                now = time.monotonic()
                node_id = self._turns.take(now)
                if node_id is None:
                    self._free.release()
                    begin = now + min(_IDLE_SECONDS, self._pace_seconds)
                else:
                    group.create_task(self._have_turn(node_id))
                    begin = max(begin, now - _MADE_UP_FOR * self._pace_seconds) + self._pace_seconds
                await asyncio.sleep(max(0.0, begin - time.monotonic()))

    @property
    def _pace_seconds(self) -> float:
        return min(_SLOWEST_PACE_SECONDS, self._every_seconds / (_SPARE * max(1, len(self._roster))))

    async def _have_turn(self, node_id: str) -> None:
        began, wait = time.monotonic(), self._every_seconds
        try:
            view = self._keeper.view
            node, record = view.nodes.get(node_id), view.record(node_id)
            if node is not None and record is not None:
                wait = await self._look(node, record)
        except Exception:
            log.exception("outside_probe_broke", node_id=node_id)
        finally:
            self._free.release()
            if node_id in self._roster:
                self._turns.put(node_id, began + wait)

    async def _look(self, node: Node, record: NodeRecord) -> float:
        """Seconds from its begin until its next turn."""
        known = self._known.get(node.node_id)
        peers = self._is_to_be_asked_for_peers(known, record)
        began, context = time.monotonic(), self._context
        reports_well = self._keeper.view.reports_well(node.node_id, now=began)
        async with asyncio.timeout(_TURN_SECONDS):
            made = await self._prober.look(node, record, peers=peers, context=context, deadline_seconds=DEADLINE_SECONDS)
        at = datetime.now(UTC)
        listeners = as_seen(made, node)
        policy = self._keeper.view.policy
        after = advance(known, listeners, at=at, reports_well=reports_well, blame=self.blame, policy=policy)
        if isinstance(made.peers, PeersTried):
            after = self._with_peers(node, known, after, made.peers, record, at)
        if event := standing_event(node, known, after, at=at):
            self._events.append(event)
            log.info("node_outside", node=node.name, region=node.region, became=after.standing, detail=after.detail)
        if node.node_id in self._roster:
            self._known[node.node_id] = self._unwritten[node.node_id] = after
        self._count(made, after, seconds=time.monotonic() - began)
        if after.sight is Sight.FAILS and after.standing is Standing.GOOD and after.failures > 1:
            self._hasten_others(at)
        return self._wait(node, after, at)

    def _is_to_be_asked_for_peers(self, known: Outside | None, record: NodeRecord) -> bool:
        now = time.monotonic()
        if now - self._peers_asked < _PEERS_PAUSE_SECONDS:
            return False
        last = None if known is None else known.peers
        fresh = last is not None and abs(datetime.now(UTC) - last.tried_at) < _PEERS_EVERY
        if fresh and last is not None and last.coturn_boot_id == record.report.coturn_boot_id:
            return False
        self._peers_asked = now
        return True

    def _with_peers(
        self, node: Node, known: Outside | None, after: Outside, tried: PeersTried, record: NodeRecord, at: datetime
    ) -> Outside:
        peers = PeersSeen(tried_at=at, coturn_boot_id=record.report.coturn_boot_id, permitted=tried.permitted)
        if event := peers_event(node, None if known is None else known.peers, peers):
            self._events.append(event)
            log.warning("node_peers", node=node.name, region=node.region, permitted=tried.permitted)
        return replace(after, peers=peers)

    def _wait(self, node: Node, seen: Outside, at: datetime) -> float:
        view, now = self._keeper.view, time.monotonic()
        soon = min(self._every_seconds, random.uniform(SOONEST_SECONDS, SOON_SECONDS))  # noqa: S311 - spreads turns
        heard_at = view.received_at(node.node_id)
        silence = 0.0 if heard_at is None else now - heard_at
        if silence > _SILENT_SECONDS:
            return self._every_seconds
        if seen.standing is Standing.QUARANTINED and seen.held_until is not None and seen.held_until > at:
            return min(self._every_seconds, max(soon, (seen.held_until - at).total_seconds()))
        if seen.failures or seen.standing is not Standing.GOOD:
            return soon
        return soon if silence > view.policy.late_after_seconds(view.interval_seconds) else self._every_seconds

    def _hasten_others(self, at: datetime) -> None:
        """Before a node is condemned some of the others have their turn: is it the node, or the place that it is tried from?"""
        now, policy = time.monotonic(), self._keeper.view.policy
        if now - self._hastened < _HASTEN_SECONDS:
            return
        self._hastened = now
        old = at - timedelta(seconds=policy.place_lately_seconds / 2)
        waiting = [each for each, seen in self._known.items() if seen.sight is Sight.RELAYS and seen.probed_at < old]
        self._turns.hasten(random.sample(waiting, min(len(waiting), policy.place_sample_nodes)), now)

    def _judge_the_place(self, now: float) -> None:
        spotted = [
            Spotted(
                region=node.region,
                failing=seen.sight is not Sight.RELAYS,
                failing_since=None if seen.failing_since is None else seen.failing_since.timestamp(),
                probed_at=seen.probed_at.timestamp(),
            )
            for node in self._keeper.view.reporting_well(now=now)
            if (seen := self._known.get(node.node_id)) is not None and seen.listeners and seen.sight is not Sight.REFUSES
        ]
        was_ours = self.blame is Blame.OURS
        at = datetime.now(UTC)
        self.blame = blame_of(spotted, now=at.timestamp(), was_ours=was_ours, policy=self._keeper.view.policy)
        ours = self.blame is Blame.OURS
        before = self._place
        since = None if not ours else at if before is None or not before.ours else before.since
        self._place = ProberPlace(ours=ours, since=since, failing=sum(each.failing for each in spotted), tried=len(spotted))
        if ours != was_ours:
            self._place_told = float("-inf")
            self._events.append(place_event(self._place, at=at))
            log.warning("outside_place", ours=ours, failing=self._place.failing, tried=self._place.tried)

    async def _tell(self, now: float) -> None:
        place = self._place if now - self._place_told > _PLACE_SECONDS else None
        batch, self._unwritten = self._unwritten, {}
        if batch or place is not None:
            try:
                leads = await self._store.put(batch, place=place, epoch=self._epoch)
                self._tell_failure("" if leads else "A later term has written: this process leads no more.")
            except OutsideUnavailableError as error:
                self._unwritten = batch | self._unwritten
                self._tell_failure(str(error))
            else:
                self._place_told = now if place is not None else self._place_told
        events = list(islice(self._events, _TOLD_AT_ONCE))
        if events:
            await insert_events(self._database, events, epoch=self._epoch)
            told = {id(event) for event in events}
            while self._events and id(self._events[0]) in told:  # some may have been pushed out meanwhile
                self._events.popleft()

    def _tell_failure(self, reason: str) -> None:
        """Once each; empty: it goes well."""
        if reason and reason != self._not_told:
            log.warning("outside_not_told", reason=reason)
        self._not_told = reason

    def _count(self, made: NodeProbed, seen: Outside, *, seconds: float) -> None:
        self._metrics.outside_probes.labels(seen.sight).inc()
        self._metrics.outside_probe_seconds.observe(seconds)
        for each in made.listeners:
            if each.failure is not None:
                self._metrics.outside_failures.labels(each.transport or "", each.failure).inc()

    def _gauge(self, now: float) -> None:
        metrics, known = self._metrics, self._known.values()
        metrics.outside_late_seconds.set(self._turns.late_seconds(now))
        metrics.outside_place_at_fault.set(self.blame is Blame.OURS)
        for standing in (Standing.FAILED, Standing.QUARANTINED):
            metrics.outside_down.labels(standing).set(sum(each.standing is standing for each in known))
        metrics.outside_permitting.set(sum(each.peers is not None and bool(each.peers.permitted) for each in known))
