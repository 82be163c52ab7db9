"""The run itself: loads that change every 50 ms, and between them reports, refreshes, rebuilds and requests in order of time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import numpy as np

from controlplane.sim.measures import Meter, Outcome, Trail
from controlplane.sim.placer import Omniscient, Placer
from controlplane.sim.reporting import Reporting
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Floats
from controlplane.sim.start import place_initial
from controlplane.sim.traffic import TICK_SECONDS
from controlplane.sim.workload import Purpose, Workload, generator

EARLY_REBUILD_SECONDS = 0.1
"""After news that changes a node's health."""
_REPORT, _EARLY_REBUILD = -2, -1


class Run:
    """One policy over one workload."""

    def __init__(self, scenario: Scenario, workload: Workload, placer: Placer, seed: int) -> None:
        self._scenario, self._workload, self._placer, self._seed = scenario, workload, placer, seed
        self._knowing = placer if isinstance(placer, Omniscient) else None
        hosts = len(scenario.fleet.hosts)
        self._meter = Meter(scenario, workload)
        self._reporting = Reporting(scenario, seed)
        self._load = np.zeros(hosts + 1)
        """Bits per second as carried; the last one is for sessions that were refused."""
        self._allocations = np.zeros(hosts + 1)
        self._started = np.zeros(hosts + 1)
        """Allocations that were ever made."""
        self._host = np.full(len(workload.at_seconds), hosts, dtype=np.int64)
        self._alive = [True] * hosts
        self._reached = [True] * hosts
        """By its clients."""
        self._carrying = np.ones(hosts)
        self._events: list[tuple[float, int, int]] = []
        """(when, what, which host or replica). What: the index of a timer, or one of the above."""
        self._timers = placer.timers()

    def go(self, progress: Callable[[float], None] | None = None) -> tuple[Outcome, Trail]:
        """`progress` is called with the virtual time once in a while."""
        workload, placer, hosts = self._workload, self._placer, len(self._carrying)
        self._begin()
        at, replica = workload.at_seconds.tolist(), workload.replica.tolist()
        at.append(float("inf"))
        changes, offsets = workload.changes, workload.changes.offsets
        load, allocations, host, events = self._load, self._allocations, self._host, self._events
        place, handle, knowing = placer.place, self._handle, self._knowing
        request = workload.initial
        for tick in range(len(offsets) - 1):
            now = tick * TICK_SECONDS
            end = now + TICK_SECONDS
            part = slice(offsets[tick], offsets[tick + 1])
            if part.stop > part.start:
                where = host[changes.request[part]]
                load += np.bincount(where, weights=changes.load[part], minlength=hosts + 1)
                opened = changes.allocations[part]
                allocations += np.bincount(where, weights=opened, minlength=hosts + 1)
                self._started[:hosts] += np.bincount(where[opened > 0], minlength=hosts + 1)[:hosts] * self._carrying
                if knowing is not None:
                    knowing.changed(changes, part, where)
            self._hosts_change(now)
            carried = load[:hosts] * self._carrying
            self._meter.tick(now, carried)
            self._reporting.carry(carried)
            first, chosen = request, []
            while True:
                asked_at = at[request]
                if events[0][0] <= asked_at:
                    if events[0][0] >= end:
                        break
                    handle(heappop(events), carried)
                elif asked_at < end:
                    chosen.append(place(replica[request], request, asked_at))
                    request += 1
                else:
                    break
            if chosen:
                placed = np.array(chosen)
                host[first:request] = np.where(placed < 0, hosts, placed)
                self._meter.placed(now, placed, first, carried)
            if progress is not None and tick % 400 == 0:
                progress(now)
        return self._meter.outcome(placer.name, self._seed, np.where(host >= hosts, -1, host))

    def _begin(self) -> None:
        scenario, workload, placer = self._scenario, self._workload, self._placer
        for joining, _ in scenario.joins:
            self._alive[joining] = False
        self._carrying[:] = self._alive
        initial = slice(0, workload.initial)
        self._host[initial] = place_initial(scenario, workload, self._alive)
        if self._knowing is not None:
            self._knowing.hosts_changed(self._alive)
            self._knowing.began(self._host[initial], workload.rates[initial])
        for what, (every_seconds, _) in enumerate(self._timers):
            phases = generator(self._seed, Purpose.PHASES, what).random(scenario.replicas) * every_seconds
            self._events += [(float(phase), what, which) for which, phase in enumerate(phases)]
        load = np.zeros(len(self._load))
        np.add.at(load, self._host[initial], workload.rates[initial])
        for sample, hearing in self._reporting.before_the_start(load, self._alive):
            placer.heard(hearing, sample)
        for which in range(scenario.replicas):
            placer.refresh(which, 0.0)
            placer.rebuild(which, 0.0)
        self._events += [(when, _REPORT, which) for which, when in self._reporting.first_reports()]
        heapify(self._events)

    def _handle(self, event: tuple[float, int, int], carried: Floats) -> None:
        when, what, which = event
        placer, events = self._placer, self._events
        placer.cut_off = self._reporting.cut_off(when)
        placer.not_sharing = self._reporting.cut_off(when, placements=True)
        if what == _REPORT:
            if self._alive[which]:
                open_now = int(self._allocations[which] * self._carrying[which])
                heard = self._reporting.report(which, when, carried, open_now, int(self._started[which]))
                if heard is not None and placer.heard(heard[0], heard[1]):
                    heappush(events, (when + EARLY_REBUILD_SECONDS, _EARLY_REBUILD, heard[0]))
                heappush(events, (self._reporting.next_report(when), _REPORT, which))
        elif what == _EARLY_REBUILD:
            placer.rebuild(which, when)
        else:
            every_seconds, act = self._timers[what]
            act(which, when)
            heappush(events, (when + every_seconds, what, which))

    def _hosts_change(self, now: float) -> None:
        scenario, changed = self._scenario, False
        for which, when in scenario.deaths:
            if self._alive[which] and now >= when:
                self._alive[which] = False
                changed = True
        for which, when in scenario.black_holes:
            if self._reached[which] and now >= when:
                self._reached[which] = False
                changed = True
        for which, when in scenario.joins:
            if not self._alive[which] and now >= when:
                self._alive[which] = True
                self._load[which] = 0.0
                heappush(self._events, (now, _REPORT, which))
                changed = True
        if changed:
            serving = [alive and reached for alive, reached in zip(self._alive, self._reached, strict=True)]
            self._carrying[:] = serving
            if self._knowing is not None:
                self._knowing.hosts_changed(serving)


def run(
    scenario: Scenario, workload: Workload, placer: Placer, seed: int, *, progress: Callable[[float], None] | None = None
) -> tuple[Outcome, Trail]:
    collecting = gc.isenabled()
    gc.disable()  # a run makes millions of small objects and no cycles: looking for cycles takes a third of the time
    try:
        return Run(scenario, workload, placer, seed).go(progress)
    finally:
        if collecting:
            gc.enable()
