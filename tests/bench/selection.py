"""How well nodes and regions are selected, in virtual time over the real code: the goals, and other policies beside ours.

Only odd seeds are run: constants are tuned on even ones. `--quick` runs fewer of them, and no fleet of 500;
`--ours` leaves the other policies out.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from controlplane.fleet.policy import Policy
from controlplane.sim import scenarios
from controlplane.sim.engine import run
from controlplane.sim.measures import Outcome
from controlplane.sim.replica import SharedStore, SimReplica
from controlplane.sim.reports import Sample, make_capacity, make_report
from controlplane.sim.runs import Task, held_out_seeds, run_all, tasks_of
from controlplane.sim.scenario import Scenario
from controlplane.sim.turnfleet import Turnfleet
from controlplane.sim.workload import make_workload

OURS, ORACLE = "turnfleet", "oracle"
BESIDE = ("weighted-random", "livekit-like", "livekit-lowest", "two-choice", "jicofo-like", "envoy-like")
_PICKS = 20_000
_REBUILDS = 20
_MANY_NODES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One figure of the table."""

    title: str
    limit: float
    scenario: str
    figure: Callable[[Outcome, Outcome], float]
    """From an outcome and the oracle's of the same seed."""
    beside: bool = True
    """Whether the other policies have this figure, too."""


def make_scenarios(*, quick: bool) -> dict[str, tuple[Scenario, int]]:
    """By name: the scenario, and how many seeds."""
    made = {
        "flash 20": (scenarios.flash_crowd(20), 20),
        "flash 100": (scenarios.flash_crowd(100), 6),
        "flash 100, 1 replica": (scenarios.flash_crowd(100, replicas=1), 6),
        "flash 100, placements untold": (scenarios.placements_untold(100), 6),
        "flash 500": (scenarios.flash_crowd(500), 3),
        "death 20": (scenarios.silent_death(20), 20),
        "death 100": (scenarios.silent_death(100), 6),
        "join 20": (scenarios.new_node(20), 20),
        "join 100": (scenarios.new_node(100), 6),
        "lost reports 20": (scenarios.lost_reports(20), 30),
        "spill 40": (scenarios.spill(40), 1),
    }
    if quick:
        del made["flash 500"]
        made = {name: (scenario, max(1, seeds // 6)) for name, (scenario, seeds) in made.items()}
    return made


def _flash(it: Outcome, best: Outcome) -> float:
    return it.flash_peak / best.flash_peak


def _steady(it: Outcome, best: Outcome) -> float:
    return it.steady_peak / best.steady_peak


def _misdirected(it: Outcome, _: Outcome) -> float:
    return it.misdirected_seconds


def _new_node(it: Outcome, _: Outcome) -> float:
    return it.new_node_share


def _neighbour(it: Outcome, _: Outcome) -> float:
    return it.neighbour_utilisation


GOALS = (
    Goal(
        title="flash peak / oracle, 20 nodes",
        limit=1.03,
        scenario="flash 20",
        figure=_flash,
    ),
    Goal(
        title="flash peak / oracle, 100 nodes",
        limit=1.04,
        scenario="flash 100",
        figure=_flash,
    ),
    Goal(
        title="the same, placements not shared",
        limit=1.05,
        scenario="flash 100, placements untold",
        figure=_flash,
        beside=False,
    ),
    Goal(
        title="flash peak / oracle, 500 nodes",
        limit=1.06,
        scenario="flash 500",
        figure=_flash,
    ),
    Goal(
        title="steady peak / oracle, 100 nodes",
        limit=1.07,
        scenario="flash 100",
        figure=_steady,
    ),
    Goal(title="p99 spread in the flash, points", limit=6.5, scenario="flash 100", figure=lambda it, _: it.p99_spread_points),
    Goal(title="placed above 100 %, sessions", limit=0.0, scenario="flash 100", figure=lambda it, _: it.placed_over_capacity),
    Goal(title="silent death, seconds, 20 nodes", limit=3.5, scenario="death 20", figure=_misdirected),
    Goal(title="silent death, seconds, 100 nodes", limit=1.5, scenario="death 100", figure=_misdirected),
    Goal(title="new node, x fair share, 20 nodes", limit=4.0, scenario="join 20", figure=_new_node),
    Goal(title="new node, x fair share, 100 nodes", limit=4.0, scenario="join 100", figure=_new_node),
    Goal(title="80 % of reports lost, peak", limit=0.55, scenario="lost reports 20", figure=lambda it, _: it.flash_peak),
    Goal(title="spill at 125 %, flips per hour", limit=0.0, scenario="spill 40", figure=lambda it, _: it.flips, beside=False),
    Goal(
        title="spill at 125 %, neighbour",
        limit=0.65,
        scenario="spill 40",
        figure=_neighbour,
        beside=False,
    ),
)


def run_goals(made: dict[str, tuple[Scenario, int]], *, others: bool, workers: int | None) -> dict[str, dict[str, list[Outcome]]]:
    """[scenario][policy], by order of the seeds. Without `others` the oracle alone is beside ours."""
    tasks: list[tuple[str, Task]] = []
    for name, (scenario, seeds) in made.items():
        beside = others and any(goal.beside for goal in GOALS if goal.scenario == name)
        policies = (OURS, ORACLE, *BESIDE) if beside else (OURS, ORACLE)
        tasks += [(name, task) for task in tasks_of(scenario, policies, held_out_seeds(seeds))]
    began, ended = time.monotonic(), itertools.count(1)

    def say(outcome: Outcome) -> None:
        done = next(ended)
        seconds = time.monotonic() - began
        print(f"  {seconds:5.0f} s: {done} of {len(tasks)} runs, {outcome}", file=sys.stderr)

    outcomes = run_all([task for _, task in tasks], workers=workers, done=say)
    found: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for (name, task), outcome in zip(tasks, outcomes, strict=True):
        found[name][task.policy].append(outcome)
    return found


def rows_of(found: dict[str, dict[str, list[Outcome]]]) -> Iterator[tuple[str, float, dict[str, float]]]:
    """(title, goal, figure by policy)."""
    for goal in GOALS:
        by_policy = found.get(goal.scenario)
        if by_policy is None:
            continue
        best = by_policy[ORACLE]
        yield (
            goal.title,
            goal.limit,
            {
                policy: fmean(goal.figure(it, other) for it, other in zip(its, best, strict=True))
                for policy, its in by_policy.items()
                if policy != ORACLE
            },
        )
    four, one = found["flash 100"], found["flash 100, 1 replica"]
    ratios = {
        policy: fmean(it.flash_peak for it in four[policy]) / fmean(it.flash_peak for it in one[policy])
        for policy in one
        if policy != ORACLE
    }
    yield "4 replicas / 1, flash peak, 100 nodes", 1.01, ratios


def measure_speed() -> Iterator[tuple[str, float, dict[str, float]]]:
    """The real code with 10,000 nodes in one region."""
    fleet = scenarios.steady(_MANY_NODES).fleet
    replica = SimReplica(fleet, SharedStore(1), policy=Policy(), draw=random.Random(1).random)
    for sequence in range(1, 4):
        now = 2.0 * sequence
        for host, it in enumerate(fleet.hosts):
            sample = Sample(
                host=host,
                sequence=sequence,
                at_seconds=now,
                bits_per_second=0.45 * it.capacity_bits_per_second,
                allocations=100,
                allocations_started=sequence,
            )
            replica.hear(it.name, make_report(sample, it, make_capacity(it)), now=now, shared=False)
    replica.rebuild(7.0)
    gc.collect()
    gc.freeze()  # as the API does once it has started
    picks = [_timed(lambda: replica.place(0, project=0, fixed=None)) for _ in range(_PICKS)]
    rebuilds = [_timed(partial(replica.rebuild, 7.0 + number)) for number in range(_REBUILDS)]
    yield "pick at 10,000 nodes, p99, µs", 20.0, {OURS: sorted(picks)[int(0.99 * _PICKS)] * 1e6}
    yield "rebuild at 10,000 nodes, median, ms", 5.0, {OURS: sorted(rebuilds)[_REBUILDS // 2] * 1e3}


def measure_learning() -> Iterator[tuple[str, float, dict[str, float]]]:
    """How far what a credential counts for is from the truth after 5 minutes, where every prior is wrong."""
    worst = 0.0
    for conversion in (0.02, 1.0):
        scenario = scenarios.other_conversion(20, conversion=conversion)
        workload = make_workload(scenario, 1)
        placer = Turnfleet(scenario, workload, 1)
        run(scenario, workload, placer, 1)
        learned = placer.store.conversion.weight("0").bits_per_second
        worst = max(worst, abs(learned / scenario.traffic.relayed_bits_per_second_per_request - 1))
    yield "learned weight, error after 5 min", 0.10, {OURS: worst}


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def print_table(rows: Sequence[tuple[str, float, dict[str, float]]]) -> None:
    policies = (OURS, *BESIDE)
    print(f"{'figure':38}{'goal':>8}" + "".join(f"{policy:>17}" for policy in policies))
    for title, limit, by_policy in rows:
        figures = [f"{by_policy[policy]:.3f}" if policy in by_policy else "-" for policy in policies]
        met = " " if by_policy[OURS] <= limit + 1e-9 else "*"
        print(f"{title:38}{limit:8.2f}{figures[0]:>16}{met}" + "".join(f"{figure:>17}" for figure in figures[1:]))
    print("(*: the goal is missed)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy/dev bench selection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seeds, no fleet of 500")
    parser.add_argument("--ours", action="store_true", help="without the other policies")
    parser.add_argument("--workers", type=int, help="processes; one per core when not given")
    parser.add_argument("--json", action="store_true", help="one line of JSON per figure instead of a table")
    options = parser.parse_args()
    rows = list(rows_of(run_goals(make_scenarios(quick=options.quick), others=not options.ours, workers=options.workers)))
    rows += [*measure_learning(), *measure_speed()]
    if options.json:
        for title, limit, by_policy in rows:
            print(json.dumps({"figure": title, "goal": limit, **by_policy}))
    else:
        print_table(rows)
    return 0 if all(by_policy[OURS] <= limit + 1e-9 for _, limit, by_policy in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
