"""Policies side by side: every figure relative to the oracle's on the same seed, then the mean over the seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

import msgspec

from controlplane.sim.measures import Outcome
from controlplane.sim.oracle import Oracle


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One policy's row."""

    policy: str
    flash_peak_vs_oracle: float
    """Highest utilisation of any node in the flash window, as a multiple of the oracle's."""
    steady_peak_vs_oracle: float
    p99_spread_points: float
    placed_over_capacity: float
    """Relayed sessions placed on a node above 100 % of its capacity, in the flash window of one run."""


def compare(outcomes: Iterable[Outcome]) -> list[Comparison]:
    """By order of appearance. Each seed must have been run with the oracle, too."""
    by_policy: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_policy[outcome.policy].append(outcome)
    oracle = {outcome.seed: outcome for outcome in by_policy[Oracle.name]}
    return [
        Comparison(
            policy=policy,
            flash_peak_vs_oracle=fmean(each.flash_peak / oracle[each.seed].flash_peak for each in its),
            steady_peak_vs_oracle=fmean(each.steady_peak / oracle[each.seed].steady_peak for each in its),
            p99_spread_points=fmean(each.p99_spread_points for each in its),
            placed_over_capacity=fmean(each.placed_over_capacity for each in its),
        )
        for policy, its in by_policy.items()
    ]
