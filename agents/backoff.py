"""How long to wait after failures. Pure: the draw is a parameter."""

from __future__ import annotations


def full_jitter(failures: int, draw: float, *, base_seconds: float, cap_seconds: float) -> float:
    """A delay between 0 and min(cap, base * 2^(failures - 1)), so that a fleet that failed together does not return together.

    `draw` is uniform in 0 … 1. No failure means no delay.
    """
    return ceiling(failures, base_seconds=base_seconds, cap_seconds=cap_seconds) * min(1.0, max(0.0, draw))


def ceiling(failures: int, *, base_seconds: float, cap_seconds: float) -> float:
    """The exponential delay itself: 0, base, 2 base, 4 base … cap."""
    if failures <= 0:
        return 0.0
    # 2^60 is past every cap; the bound keeps the float finite for any count.
    return min(cap_seconds, base_seconds * 2.0 ** min(failures - 1, 60))


LONGEST_ASKED_SECONDS = 30.0
"""Bound of what a Retry-After is taken for: a guess, so that a mistake there cannot keep a fleet away."""


def asked_delay(seconds: float | None, draw: float) -> float:
    """What the server asked for, within the bound, and up to a tenth more: those that it asked must not return together."""
    if seconds is None:
        return 0.0
    return min(LONGEST_ASKED_SECONDS, max(0.0, seconds)) * (1 + 0.1 * min(1.0, max(0.0, draw)))


def heartbeat_delay(failures: int, draw: float, *, interval_seconds: float) -> float:
    """The wait before the next heartbeat: the interval, give or take a tenth; after failures up to twice the interval.

    A failing agent never asks faster than a healthy one, and never waits longer than 2 intervals: the control plane calls a
    node suspect after 2.5, so one that is back must be heard before that.
    """
    jittered = interval_seconds * (0.9 + 0.2 * min(1.0, max(0.0, draw)))
    if failures <= 0:
        return jittered
    extra = full_jitter(failures, draw, base_seconds=interval_seconds / 2, cap_seconds=interval_seconds)
    return min(2 * interval_seconds, interval_seconds * 0.9 + extra)
