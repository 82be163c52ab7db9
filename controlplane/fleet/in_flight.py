"""Placements that the nodes' reports do not show yet.

A credential issued now becomes load seconds later: ICE takes 0.5 to 3 s, then the sender's bandwidth estimator ramps up.
Until the node's own report shows it, every replica would send everybody to the same "least loaded" node. So placements are
counted per (node, the report they were placed under) and retired by the node's own reports: a node that stops reporting
accumulates them and repels traffic by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ICE_DELAY_FROM_SECONDS = 0.5
ICE_DELAY_TO_SECONDS = 3.0
"""Uniform between the two: candidate gathering and checks before the first relayed byte."""

RAMP = ((0.0, 0.30), (3.0, 0.35), (8.0, 0.35))
"""(seconds after the first byte, share of the final rate that starts then): 30, 65, 100 %."""

FORGET_AFTER_SECONDS = 60.0
"""What a silent node was given is no longer counted after this: the credentials are long used or expired."""


def _integral_of_started(seconds: float) -> float:
    """Integral from 0 to `seconds` of P(ICE delay < t) dt."""
    span = ICE_DELAY_TO_SECONDS - ICE_DELAY_FROM_SECONDS
    if seconds <= ICE_DELAY_FROM_SECONDS:
        return 0.0
    if seconds <= ICE_DELAY_TO_SECONDS:
        return (seconds - ICE_DELAY_FROM_SECONDS) ** 2 / (2 * span)
    return span / 2 + (seconds - ICE_DELAY_TO_SECONDS)


def _integral_of_unseen(seconds: float) -> float:
    return seconds - sum(share * _integral_of_started(seconds - after) for after, share in RAMP)


def unseen_share(age_from_seconds: float, age_to_seconds: float) -> float:
    """The share of a placement's load that a report cannot show, for placements aged evenly between the two at that report.

    1 at age 0, 0 after 11 s. The generation weights of any report interval T follow from it: the k-th generation before
    the newest report is unseen_share((k - 1) T, k T). For T = 2 s: 0.93, 0.72, 0.49, 0.35, 0.27, 0.04.
    """
    start, end = max(0.0, age_from_seconds), max(0.0, age_to_seconds)
    if end - start < 1e-9:  # noqa: PLR2004 - two reports at the same instant: the integral's derivative
        end = start + 1e-6
    return min(1.0, max(0.0, (_integral_of_unseen(end) - _integral_of_unseen(start)) / (end - start)))


@dataclass(slots=True)
class _Generation:
    opened_at: float
    closed_at: float | None = None
    bits_per_second: float = 0.0
    allocations: float = 0.0


@dataclass(slots=True)
class Placements:
    """One node's placements in flight. Times are monotonic seconds of one process."""

    generations: list[_Generation] = field(default_factory=list)

    def reported(self, at: float) -> None:
        """The node's report arrived: what was placed before it belongs to a closed generation."""
        if self.generations and self.generations[-1].closed_at is None:
            self.generations[-1].closed_at = at

    def place(self, at: float, bits_per_second: float, allocations: float) -> None:
        if not self.generations or self.generations[-1].closed_at is not None:
            self.generations.append(_Generation(opened_at=at))
        newest = self.generations[-1]
        newest.bits_per_second += bits_per_second
        newest.allocations += allocations

    def in_flight(self, now: float, *, last_report_at: float) -> tuple[float, float]:
        """(bits per second, allocations) that the report of `last_report_at` does not show. Forgets what is too old."""
        self.generations = [each for each in self.generations if now - each.opened_at <= FORGET_AFTER_SECONDS]
        bits = allocations = 0.0
        for each in self.generations:
            share = 1.0
            if each.closed_at is not None:
                share = unseen_share(last_report_at - each.closed_at, last_report_at - each.opened_at)
            bits += share * each.bits_per_second
            allocations += share * each.allocations
        return bits, allocations
