"""Placements that the nodes' reports do not show yet.

A credential issued now becomes load seconds later: ICE takes 0.5 to 3 s, then the sender's bandwidth estimator ramps up.
Until the node's own report shows it, every replica would send everybody to the same "least loaded" node. So placements are
counted per (node, the report they were placed under) and retired by the node's own reports: a node that stops reporting
accumulates them and repels traffic by itself.

All nodes at once, in arrays of (recent report, node). Times are monotonic seconds of one process.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

ICE_DELAY_FROM_SECONDS = 0.5
ICE_DELAY_TO_SECONDS = 3.0
"""Uniform between the two: candidate gathering and checks before the first relayed byte."""

RAMP = ((0.0, 0.30), (3.0, 0.35), (8.0, 0.35))
"""(seconds after the first byte, share of the final rate that starts then): 30, 65, 100 %."""

VISIBLE_AFTER_SECONDS = ICE_DELAY_TO_SECONDS + RAMP[-1][0]
"""A report shows all of what was placed so long before it."""

FORGET_AFTER_SECONDS = 60.0
"""Of a node that was silent for longer, what it was given is no longer counted: its load is unknown, and no sum of what was given
would tell it."""

REPORTS_KEPT = 8
"""With one every 2 s, 16 s: longer than it takes to see everything."""

NEVER = -1e12

_STEP_SECONDS = 0.01


def _integral_of_started(seconds: Floats) -> Floats:
    """Integral from 0 to `seconds` of P(ICE delay < t) dt."""
    span = ICE_DELAY_TO_SECONDS - ICE_DELAY_FROM_SECONDS
    inside = np.clip(seconds - ICE_DELAY_FROM_SECONDS, 0.0, span)
    return np.asarray(inside * inside / (2 * span) + np.maximum(0.0, seconds - ICE_DELAY_TO_SECONDS))


def _integral_of_unseen() -> Floats:
    """Of a placement's load, from 0 to 0, 10 ms, 20 ms … seconds after it."""
    seconds = np.arange(0.0, VISIBLE_AFTER_SECONDS + _STEP_SECONDS, _STEP_SECONDS)
    return np.asarray(seconds - sum(share * _integral_of_started(seconds - after) for after, share in RAMP))


_UNSEEN = _integral_of_unseen()


def _unseen_until(seconds: Floats) -> Floats:
    steps = seconds * (1 / _STEP_SECONDS)
    return _UNSEEN.take(np.minimum(steps, _UNSEEN.size - 1, out=steps).astype(np.int32))


def unseen_shares(ages_seconds: Floats) -> Floats:
    """The share of a placement's load that a report cannot show: a row for each two neighbours of `ages_seconds`.

    `ages_seconds` are of the newest report and those before it, at the time of the newest (so the first is 0). A placement is
    aged evenly between two of them. The share is 1 at age 0 and 0 after 11 s, to 10 ms. The weights of any report interval T
    follow from it: for T = 2 s 0.93, 0.72, 0.49, 0.35, 0.27, 0.04; for T = 5 s 0.77, 0.33, 0.01. Nothing is fitted to an
    interval: the ICE delay and the ramp are all that is assumed.
    """
    unseen = _unseen_until(ages_seconds)
    shares, widths = unseen[1:] - unseen[:-1], ages_seconds[1:] - ages_seconds[:-1]
    shares /= np.maximum(widths, _STEP_SECONDS, out=widths)
    return shares


def report_key(boot_id: str, sequence: int) -> int:
    """The same for the same report on every replica, and in order within a run of the agent."""
    return (zlib.crc32(boot_id.encode()) & 0x7FFFFFFF) << 32 | (sequence & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """What one replica placed on a node while a certain report was the newest that it knew."""

    node: int
    """Its place among the nodes."""
    report: int
    """See report_key()."""
    bits_per_second: float
    allocations: float
    uses: float
    """Expected number of credentials with any allocation."""


class InFlight:
    """`nodes` nodes. What this replica placed is its own until it is shared; then it is counted with the others'."""

    def __init__(self, nodes: int) -> None:
        shape = (REPORTS_KEPT, nodes)
        # The first row is of the newest report, and still open; each was closed when the one before it came.
        self._report = np.zeros(shape, np.int64)
        self._reported_at = np.full(shape, NEVER)
        # Of bits per second, allocations, uses.
        self._shared = np.zeros((3, *shape))
        # The same memory twice: what a placement adds to is reached four times faster as a plain array.
        self._flat = array("d", bytes(3 * REPORTS_KEPT * nodes * 8))
        self._own = np.frombuffer(self._flat).reshape((3, *shape))
        self._kind = REPORTS_KEPT * nodes
        self.retired_uses = np.zeros(nodes)
        """Uses that left the window of reports since the node last showed a new allocation."""

    def taken_over(self, other: InFlight, rows: Sequence[tuple[int, int]]) -> None:
        """What is known of nodes that stay when the fleet changes: (their place there, their place here)."""
        if not rows:
            return
        there, here = (np.array(each, np.intp) for each in zip(*rows, strict=True))
        self._report[:, here] = other._report[:, there]
        self._reported_at[:, here] = other._reported_at[:, there]
        self._shared[:, :, here] = other._shared[:, :, there]
        self._own[:, :, here] = other._own[:, :, there]
        self.retired_uses[here] = other.retired_uses[there]

    def reported(self, node: int, report: int, at: float, *, unshown_since: float = np.inf) -> None:
        """A report arrived: what was placed before it belongs to a closed generation.

        Since `unshown_since` no report of the node showed a new allocation.
        """
        if self._reported_at[-1, node] >= unshown_since:
            self.retired_uses[node] += self._shared[2, -1, node] + self._own[2, -1, node]
        for each, newest in ((self._report, report), (self._reported_at, at)):
            each[1:, node] = each[:-1, node]
            each[0, node] = newest
        for counts in (self._shared, self._own):
            counts[:, 1:, node] = counts[:, :-1, node]
            counts[:, 0, node] = 0.0

    def place(self, node: int, bits_per_second: float, allocations: float, uses: float) -> None:
        """A placement of this replica."""
        flat, kind = self._flat, self._kind
        flat[node] += bits_per_second
        flat[kind + node] += allocations
        flat[2 * kind + node] += uses

    def unshared(self, limit: int) -> list[Increment]:
        """What this replica has placed and not shared yet, the newest first; at most `limit` of them."""
        generations, nodes = (each[:limit] for each in np.nonzero(self._own[1]))
        return [
            Increment(node=node, report=report, bits_per_second=bits, allocations=allocations, uses=uses)
            for node, report, (bits, allocations, uses) in zip(
                nodes.tolist(),
                self._report[generations, nodes].tolist(),
                self._own[:, generations, nodes].T.tolist(),
                strict=True,
            )
        ]

    def shared(self, sent: Iterable[Increment]) -> None:
        """The others know of these now. What was retired meanwhile is left out."""
        for each in sent:
            generation = self._generation_of(each.node, each.report)
            if generation is not None and self._report[generation, each.node] == each.report:
                place = (generation, each.node)
                for kind, amount in enumerate((each.bits_per_second, each.allocations, each.uses)):
                    self._own[kind][place] = max(0.0, float(self._own[kind][place]) - amount)
                    self._shared[kind][place] += amount

    def told(self, increments: Iterable[Increment]) -> None:
        """What other replicas placed. Under a report that is not known here yet: under the newest that is."""
        for each in increments:
            generation = self._generation_of(each.node, each.report)
            if generation is not None:
                self._shared[0, generation, each.node] += each.bits_per_second
                self._shared[1, generation, each.node] += each.allocations
                self._shared[2, generation, each.node] += each.uses

    def totals(self, *, now: float, own_factor: float = 1.0) -> tuple[Floats, Floats]:
        """(bits per second, allocations) of every node that its newest report does not show.

        `own_factor` is what this replica's own count stands for where nothing is shared: the number of replicas.
        """
        newest = self._reported_at[0]
        shares = unseen_shares(newest - self._reported_at)
        remembered = now - newest <= FORGET_AFTER_SECONDS

        def total(shared: Floats, own: Floats) -> Floats:
            counted = shared + own if own_factor == 1.0 else shared + own_factor * own
            return np.asarray((counted[0] + np.einsum("gn,gn->n", counted[1:], shares)) * remembered)

        return total(self._shared[0], self._own[0]), total(self._shared[1], self._own[1])

    def uses_between(self, reported_from: Floats, closed_until: Floats) -> Floats:
        """Uses placed on each node under reports that came no earlier than the one and were replaced by the other."""
        inside = self._reported_at[1:] >= reported_from
        inside &= self._reported_at[:-1] <= closed_until
        return np.asarray(((self._shared[2, 1:] + self._own[2, 1:]) * inside).sum(axis=0))

    def _generation_of(self, node: int, report: int) -> int | None:
        """Of the newest known report of that run of the agent that is no newer. None: it is retired."""
        same_run = False
        for generation, known in enumerate(self._report[:, node].tolist()):
            if known >> 32 == report >> 32:
                same_run = True
                if known <= report:
                    return generation
        return None if same_run else 0
