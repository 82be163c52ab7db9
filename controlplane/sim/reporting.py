"""When hosts report, what they measured, which replica hears it, and which reports never arrive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from controlplane.sim.reports import Sample
from controlplane.sim.scenario import Scenario
from controlplane.sim.sessions import Floats
from controlplane.sim.workload import Purpose, generator

_JITTER = 0.1
"""Reports come an interval after the last one, give or take a tenth, so that they never march in step."""
_BEFORE = 3
"""Reports that every host has sent when the run begins: more than a return needs."""
_NOBODY: frozenset[int] = frozenset()


class Reporting:
    """Draws nothing that depends on a policy, so the same reports are sent and lost under all of them."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        hosts = len(scenario.fleet.hosts)
        self._scenario = scenario
        self._dice = generator(seed, Purpose.REPORTS).random
        self._trouble = generator(seed, Purpose.TROUBLE)
        self._sequence = [0] * hosts
        muted = self._trouble.permutation(hosts)[: round(scenario.muted_share * hosts)]
        self._muted = {int(host) for host in muted}
        self._clock_offsets = dict(scenario.clock_offsets)
        self._carried = np.zeros(hosts)
        self._carried_at_report = np.zeros(hosts)
        self._ticks = 0
        self._ticks_at_report = [0] * hosts

    def before_the_start(self, load: Floats, alive: list[bool]) -> Iterator[tuple[Sample, int]]:
        """Reports of the seconds before the run, and who heard them: always the first replica, and the others read them."""
        interval = self._scenario.interval_seconds
        for number in range(_BEFORE):
            for host, up in enumerate(alive):
                if up:
                    self._sequence[host] += 1
                    at = (number - _BEFORE) * interval
                    yield (
                        Sample(
                            host=host,
                            sequence=number + 1,
                            at_seconds=at,
                            bits_per_second=float(load[host]),
                            allocations=0,
                            allocations_started=0,
                        ),
                        0,
                    )

    def first_reports(self) -> list[tuple[int, float]]:
        """(host, when), at random phases."""
        scenario = self._scenario
        joining = {host for host, _ in scenario.joins}
        phases = [(host, self._dice() * scenario.interval_seconds) for host in range(len(scenario.fleet.hosts))]
        return [(host, when) for host, when in phases if host not in joining]

    def next_report(self, now: float) -> float:
        return now + self._scenario.interval_seconds * (1 + _JITTER * (2 * self._dice() - 1))

    def carry(self, load: Floats) -> None:
        """One tick of this load, for reports that tell a mean."""
        if self._scenario.averaged_reports:
            self._carried += load
            self._ticks += 1

    def report(self, host: int, now: float, load: Floats, allocations: int, started: int) -> tuple[int, Sample] | None:
        """(the replica that hears it, the sample), or None when it does not arrive."""
        scenario = self._scenario
        self._sequence[host] += 1
        hearing = int(self._dice() * scenario.replicas)
        bits = float(load[host])
        if scenario.averaged_reports:
            ticks = self._ticks - self._ticks_at_report[host]
            bits = float(self._carried[host] - self._carried_at_report[host]) / max(1, ticks)
            self._carried_at_report[host], self._ticks_at_report[host] = self._carried[host], self._ticks
        trouble = scenario.trouble_at_seconds <= now < scenario.trouble_until_seconds
        if trouble and self._is_lost(host):
            return None
        return hearing, Sample(
            host=host,
            sequence=self._sequence[host],
            at_seconds=now,
            bits_per_second=bits,
            allocations=allocations,
            allocations_started=started,
            clock_offset_seconds=self._clock_offsets.get(host, 0.0) if trouble else 0.0,
        )

    def _is_lost(self, host: int) -> bool:
        scenario = self._scenario
        if host in self._muted or scenario.fleet.hosts[host].region in scenario.muted_regions:
            return True
        return scenario.lost_share > 0 and self._trouble.random() < scenario.lost_share

    def cut_off(self, now: float, *, placements: bool = False) -> frozenset[int]:
        """Replicas that do not reach the shared store at that moment; with `placements`, those that cannot tell what they place."""
        apart = self._scenario.partition
        if apart is None or not apart.from_seconds <= now < apart.until_seconds:
            return _NOBODY
        return _NOBODY if apart.placements_only and not placements else frozenset(apart.replicas)
