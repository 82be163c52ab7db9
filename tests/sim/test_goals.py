"""What selection reaches in the simulator, at fixed seeds and with margins; and that the simulator would see what it is made of go.

The whole table is printed by `./deploy/dev bench selection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

import pytest

from controlplane.fleet.conversion import Conversion
from controlplane.fleet.policy import Policy
from controlplane.fleet.selection import Weight
from controlplane.sim.engine import run
from controlplane.sim.measures import Outcome
from controlplane.sim.policies import POLICIES
from controlplane.sim.scenarios import flash_crowd
from controlplane.sim.turnfleet import Turnfleet
from controlplane.sim.workload import make_workload

NODES = 20
SEEDS = (1, 5, 7)
SCENARIO = flash_crowd(NODES, at_seconds=240.0)
"""A shorter warm-up than the bench's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Medians over the seeds: in one of a dozen runs a single large session on a small node decides the peak, whoever places it."""

    flash_peak_vs_oracle: float
    steady_peak_vs_oracle: float
    p99_spread_points: float
    placed_over_capacity: int
    """Of all runs."""


class NoWeight(Conversion):
    """Credentials that count for nothing: placements in flight are not counted."""

    def weight(self, project: str | None, *, forced_relay: bool = False) -> Weight:
        return Weight(bits_per_second=0.0, allocations=0.0)


@cache
def outcome(seed: int, policy: str) -> Outcome:
    workload = make_workload(SCENARIO, seed)
    return run(SCENARIO, workload, POLICIES[policy](SCENARIO, workload, seed), seed)[0]


def changed_outcome(seed: int, policy: Policy, conversion: Conversion | None) -> Outcome:
    workload = make_workload(SCENARIO, seed)
    return run(SCENARIO, workload, Turnfleet(SCENARIO, workload, seed, policy=policy, conversion=conversion), seed)[0]


def figures(ours: Sequence[Outcome]) -> Figures:
    best = [outcome(it.seed, "oracle") for it in ours]
    return Figures(
        flash_peak_vs_oracle=median(it.flash_peak / other.flash_peak for it, other in zip(ours, best, strict=True)),
        steady_peak_vs_oracle=median(it.steady_peak / other.steady_peak for it, other in zip(ours, best, strict=True)),
        p99_spread_points=median(it.p99_spread_points for it in ours),
        placed_over_capacity=sum(it.placed_over_capacity for it in ours),
    )


def reached(found: Figures) -> bool:
    return (
        found.flash_peak_vs_oracle <= 1.05
        and found.steady_peak_vs_oracle <= 1.07
        and found.p99_spread_points <= 7.0
        and found.placed_over_capacity == 0
    )


def test_a_flash_crowd_is_placed_nearly_as_an_oracle_would() -> None:
    found = figures([outcome(seed, "turnfleet") for seed in SEEDS])
    assert reached(found), found


@pytest.mark.full
@pytest.mark.parametrize(
    ("policy", "conversion"),
    [
        pytest.param(Policy(), NoWeight(), id="in-flight-counting"),
        pytest.param(Policy(safety_deviations=0.0), None, id="safe-capacity"),
        pytest.param(Policy(choices=1), None, id="choices"),
    ],
)
def test_without_each_ingredient_it_is_missed(policy: Policy, conversion: Conversion | None) -> None:
    found = figures([changed_outcome(seed, policy, conversion) for seed in SEEDS[:2]])
    assert not reached(found), found
