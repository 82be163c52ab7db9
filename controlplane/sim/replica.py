"""One replica of the control plane in virtual time: the only place that touches the mutable side of the fleet's view.

It does what the API's own processes do around the same code (hears reports, reads what the others heard, rebuilds, selects,
counts what it placed and tells the others), with a clock that is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.heartbeat import accept, bad_news, is_stale
from controlplane.fleet.model import NodeRecord, Region, Report
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import RankedRegion, Refusal, Selection, Weight, select
from controlplane.fleet.table import Draw
from controlplane.fleet.view import FleetView, Placed
from controlplane.sim.fleet import SimFleet

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""The wall clock at second 0."""
ALONE_AFTER_SECONDS = 1.0
"""A replica that could not tell the others what it placed for so long counts for all of them."""


_REPORTS = 16
"""More generations of placements than any node has."""


def wall(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)


@dataclass(slots=True)
class SharedStore:
    """What the replicas share: all that was ever written, in order. A reader remembers how far it read."""

    replicas: int
    records: list[tuple[str, NodeRecord, float]] = field(default_factory=list)
    """(node id, record, when it was received)."""
    placements: list[tuple[object, Sequence[Placed]]] = field(default_factory=list)
    """(by whom, what)."""
    conversion: Conversion = field(default_factory=Conversion)
    """What was learned last."""


class SimReplica:
    """Owns one FleetView. Times are virtual seconds; the same for all replicas, as monotonic clocks tick alike."""

    def __init__(self, fleet: SimFleet, store: SharedStore, *, policy: Policy, draw: Draw) -> None:
        self.view = FleetView(policy=policy)
        self.view.set_directory(fleet.regions, fleet.nodes())
        self._policy = policy
        self._store = store
        self._draw = draw
        self._read_records = self._read_placements = 0
        self._read_at: float | None = None
        self._seeing_since: float | None = None
        self._exchanged_at = 0.0
        self._weights: dict[int, Weight] = {}
        """By project. They change when something was learned only."""
        self._ranked = [self._rank(region) for region in fleet.regions]

    def _rank(self, region: Region) -> list[RankedRegion]:
        return self.view.rank(region.latitude, region.longitude)

    def hear(self, node_id: str, report: Report, *, now: float, shared: bool) -> bool:
        """A heartbeat that this replica answers. True: it is news, which is acted on before its next turn."""
        view, policy = self.view, self._policy
        previous, heard_at = view.record(node_id), view.received_at(node_id)
        if is_stale(previous, report):
            return False
        record = accept(
            previous,
            report,
            received_at=wall(now),
            silence_seconds=0.0 if heard_at is None or view.silence_held(now) else now - heard_at,
            interval_seconds=view.interval_seconds,
            policy=policy,
        )
        view.put_record(node_id, record, received=now)
        if shared:
            self._store.records.append((node_id, record, now))
        if previous is None:
            return True
        returned = record.proved_at is not None and previous.proved_at is None
        return returned or bad_news(record.report, policy=policy) is not bad_news(previous.report, policy=policy)

    def refresh(self, now: float) -> None:
        """Take in what the others heard since the last time, and what was learned."""
        records, view, silence = self._store.records, self.view, self.view.silence
        newest = {node_id: (record, received) for node_id, record, received in records[self._read_records :]}
        self._read_records = len(records)
        for node_id, (record, received) in newest.items():
            view.put_record(node_id, record, received=received)
        if self._seeing_since is None:
            self._seeing_since = now
        self._read_at = view.seen_at = now
        if silence.blind_since is not None and now - self._seeing_since >= self._policy.lease_seconds(view.interval_seconds):
            silence.blind_since = None
        view.conversion = self._store.conversion
        self._weights.clear()

    def refresh_failed(self, now: float) -> None:
        """The shared store did not answer."""
        self._seeing_since = None
        if self.view.silence.blind_since is None:
            self.view.silence.blind_since = now if self._read_at is None else self._read_at

    def exchange(self, now: float) -> None:
        """Tell the others what was placed here, and be told what they placed."""
        store, view = self._store, self.view
        own = view.unshared(len(view.nodes) * _REPORTS)
        if own:
            store.placements.append((self, own))
            view.shared(own)
        for by, placed in store.placements[self._read_placements :]:
            if by is not self:
                view.told(placed)
        self._read_placements = len(store.placements)
        self._exchanged_at, view.own_factor = now, 1.0

    def exchange_failed(self, now: float) -> None:
        """What it placed stands for what all of them did: each gets about the same share of the requests."""
        if now - self._exchanged_at >= ALONE_AFTER_SECONDS:
            self.view.own_factor = float(self._store.replicas)

    def rebuild(self, now: float) -> None:
        self.view.rebuild(now=now, wall=wall(now))

    def place(self, region: int, *, project: int, fixed: str | None) -> str | Refusal:
        """The node that a caller next to that region is given, counted as placed."""
        view = self.view
        weight = self._weights.get(project)
        if weight is None:
            weight = self._weights[project] = view.conversion.weight(str(project))
        chosen = select(view.table, ranked=self._ranked[region], fixed=fixed, weight=weight, draw=self._draw, policy=self._policy)
        if not isinstance(chosen, Selection):
            return chosen
        node_id = chosen.contenders[0].node_id
        view.place(node_id, chosen.share)
        return node_id
