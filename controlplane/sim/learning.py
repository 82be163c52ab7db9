"""What the leader learns conversion from: which credentials relayed, as usage records tell a minute later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlplane.fleet.conversion import OLD_ENOUGH_SECONDS, Conversion, Counts, Rates
from controlplane.sim.traffic import TICK_SECONDS
from controlplane.sim.workload import Workload

LEARN_SECONDS = 15.0


class Learner:
    """Counts from the workload itself; what was refused counts as if it had been given a node."""

    def __init__(self, workload: Workload, project_of_demand: Sequence[int]) -> None:
        changes = workload.changes
        first = workload.initial
        self._at = workload.at_seconds[first:]
        self._relays = workload.relays[first:]
        self._project = np.array(project_of_demand)[workload.demand[first:]]
        # Of all sessions that relay, tick by tick. They have an allocation for a moment longer, which makes no difference.
        ends = np.array(changes.offsets[1:])
        relaying = changes.allocations * workload.relays[changes.request]
        self._sessions = np.concatenate([[0], np.cumsum(relaying, dtype=np.int64)])[ends]
        self._load = np.concatenate([[0.0], np.cumsum(changes.load)])[ends]
        self._until = 0.0

    def learn(self, known: Conversion, now: float, *, at: float) -> None:
        """Adds to `known` what became old enough since the last time."""
        since, self._until = self._until, max(0.0, now - OLD_ENOUGH_SECONDS)
        low, high = np.searchsorted(self._at, (since, self._until))
        found = {}
        for project in np.unique(self._project[low:high]).tolist():
            its = self._project[low:high] == project
            relayed = float(self._relays[low:high][its].sum())
            found[str(project)] = Counts(
                issued=float(its.sum()), relayed=relayed, used=float(its.sum()), allocations=float(its.sum())
            )
        tick = min(int(now / TICK_SECONDS), len(self._load) - 1)
        rates = Rates(bits_per_second=float(self._load[tick]), sessions=float(self._sessions[tick]))
        known.learn(found, rates, at=at)
