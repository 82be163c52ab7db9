"""How the rates of sessions change over time: the stream of load changes that the sum of all sessions is made of.

Nothing here depends on where a session is placed, so every policy is given the same stream for a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.traffic import TICK_SECONDS, Traffic

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """By order of time; those of tick k are the slice offsets[k]:offsets[k + 1]."""

    request: Integers
    """Whose session it is."""
    load: Floats
    """Bits per second that begin (or end, when below zero)."""
    target: Floats
    """The same for the rate that the session is heading for; the first of it begins with its placement and is not told here."""
    allocations: NDArray[np.int8]
    """+1, -1 or 0."""
    ends: NDArray[np.bool_]
    """It is the end of a relayed session."""
    offsets: list[int]


@dataclass(slots=True)
class ChangesBuilder:
    """Gathers changes in any order."""

    traffic: Traffic
    duration_seconds: float
    _parts: list[tuple[Floats, Integers, Floats, Floats, NDArray[np.int8], NDArray[np.bool_]]]

    def _add(
        self, at: Floats, request: Integers, load: Floats, target: Floats, *, allocations: int = 0, ends: bool = False
    ) -> None:
        inside = at < self.duration_seconds
        count = int(inside.sum())
        self._parts.append(
            (
                at[inside],
                request[inside],
                load[inside],
                target[inside],
                np.full(count, allocations, dtype=np.int8),
                np.full(count, ends, dtype=np.bool_),
            )
        )

    def allocations(self, request: Integers, opened_at: Floats, closed_at: Floats) -> None:
        nothing = np.zeros(len(request))
        self._add(opened_at, request, nothing, nothing, allocations=1)
        self._add(closed_at, request, nothing, nothing, allocations=-1)

    def ramped(self, rng: np.random.Generator, request: Integers, rates: Floats, until: Floats) -> None:
        """Sessions that are under way at the beginning, and end at `until`."""
        start = np.zeros(len(request))
        factors = self._factor(rng, len(request))
        self._add(start, request, rates * factors, rates * (factors - 1))
        self._fluctuate_and_end(rng, request, rates, factors, start, until)

    def ramping(self, rng: np.random.Generator, request: Integers, rates: Floats, start: Floats, until: Floats) -> None:
        """Sessions whose first byte is relayed at `start`."""
        nothing = np.zeros(len(request))
        level = nothing
        last = len(self.traffic.ramp) - 1
        factors = self._factor(rng, len(request))
        for number, (after, share) in enumerate(self.traffic.ramp):
            alive = until > start + after
            if number == last:
                # At full speed from here on, and so no longer at its mean rate exactly.
                step, target = np.where(alive, rates * factors - level, 0.0), np.where(alive, rates * (factors - 1), 0.0)
            else:
                step, target = np.where(alive, rates * share, 0.0), nothing
            level = level + step
            self._add((start + after)[alive], request[alive], step[alive], target[alive])
        ramped = until > start + self.traffic.ramp[last][0]
        short = ~ramped
        self._add(until[short], request[short], -level[short], -rates[short], ends=True)
        begin = start[ramped] + self.traffic.ramp[last][0]
        self._fluctuate_and_end(rng, request[ramped], rates[ramped], factors[ramped], begin, until[ramped])

    def _fluctuate_and_end(
        self, rng: np.random.Generator, request: Integers, rates: Floats, factors: Floats, start: Floats, until: Floats
    ) -> None:
        """From `start` on, at rates x factors, drawn anew after exponential gaps; nothing is left at `until`."""
        span = np.maximum(np.minimum(until, self.duration_seconds) - start, 0.0)
        counts = rng.poisson(span / self.traffic.fluctuation_seconds)
        owner = np.repeat(np.arange(len(request)), counts)
        at = start[owner] + rng.random(len(owner)) * span[owner]
        order = np.lexsort((at, owner))
        at = at[order]  # owner is in order already
        drawn = self._factor(rng, len(owner))
        first = np.ones(len(owner), dtype=np.bool_)
        first[1:] = owner[1:] != owner[:-1]
        before = np.empty(len(owner))
        before[1:] = drawn[:-1]
        before[first] = factors[owner[first]]
        step = rates[owner] * (drawn - before)
        self._add(at, request[owner], step, step)
        final = factors.copy()
        final[owner] = drawn  # of several, the last one stays
        self._add(until, request, -rates * final, -rates * final, ends=True)

    def _factor(self, rng: np.random.Generator, count: int) -> Floats:
        sigma = self.traffic.fluctuation_sigma
        return rng.lognormal(-sigma * sigma / 2, sigma, count)

    def build(self) -> Changes:
        at, request, load, target, allocations, ends = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        self._parts.clear()
        tick = np.floor(at / TICK_SECONDS).astype(np.int64) + (at > 0)  # what happens within a tick shows after it
        order = np.argsort(tick, kind="stable")
        ticks = round(self.duration_seconds / TICK_SECONDS)
        return Changes(
            request=request[order],
            load=load[order],
            target=target[order],
            allocations=allocations[order],
            ends=ends[order],
            offsets=np.searchsorted(tick[order], np.arange(ticks + 1)).tolist(),
        )


def new_changes(traffic: Traffic, duration_seconds: float) -> ChangesBuilder:
    return ChangesBuilder(traffic, duration_seconds, [])
