"""Draws the pictures of docs/concepts/selection.md, in virtual time over the real code: again after a change of the selection."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from controlplane.fleet.policy import Policy
from controlplane.sim import scenarios
from controlplane.sim.engine import run
from controlplane.sim.plot import plot_utilisation
from controlplane.sim.policies import POLICIES
from controlplane.sim.workload import make_workload

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "concepts"
_SEED = 1
_NODES = 20
_FROM_SECONDS, _UNTIL_SECONDS = 570, 720
_BESIDE = {"turnfleet": "turnfleet", "least-loaded": "the least loaded by its report"}


def draw_flash_crowd(path: Path) -> None:
    """Each node's utilisation while ten times the usual requests come for 30 s."""
    scenario = scenarios.flash_crowd(_NODES)
    workload = make_workload(scenario, _SEED)
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(_BESIDE), sharey=True)
    for axes, (policy, title) in zip(panels, _BESIDE.items(), strict=True):
        _, trail = run(scenario, workload, POLICIES[policy](scenario, workload, _SEED), _SEED)
        seconds = np.arange(_FROM_SECONDS, _UNTIL_SECONDS)
        axes.plot(seconds, (trail.load_bits_per_second / scenario.fleet.capacities)[seconds] * 100, linewidth=0.9)
        axes.axhline(100, color="0.4", linestyle=":")
        axes.axvspan(scenarios.EVENT_AT_SECONDS, scenarios.EVENT_AT_SECONDS + scenarios.FLASH_SECONDS, color="0.93")
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("seconds")
        axes.margins(x=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("load of each node over its capacity, %")
    panels[0].set_ylim(0, 250)
    figure.savefig(path, metadata={"Date": None})


def draw_region_spill(path: Path) -> None:
    """Two regions, of which one is offered a quarter more than it is filled to."""
    scenario = replace(scenarios.spill(_NODES), duration_seconds=2400.0, flash=(1200.0, 2400.0), steady=(1200.0, 2400.0))
    workload = make_workload(scenario, _SEED)
    _, trail = run(scenario, workload, POLICIES["turnfleet"](scenario, workload, _SEED), _SEED)
    fleet, policy = scenario.fleet, Policy()
    safe = fleet.safe_capacities(policy)
    names = ("asked for a quarter more than it should carry", "its neighbour, far away")
    series = {
        name: trail.load_bits_per_second[:, fleet.of_region(region)].sum(axis=1) / safe[fleet.of_region(region)].sum()
        for region, name in enumerate(names)
    }
    plot_utilisation(path, series, changed_at_seconds=0.0, policy=policy)


def main() -> int:
    argparse.ArgumentParser(prog="bench pictures", description=__doc__).parse_args()
    mpl.rcParams["svg.hashsalt"] = "turnfleet"
    draw_flash_crowd(_FOLDER / "flash-crowd.svg")
    draw_region_spill(_FOLDER / "region-spill.svg")
    sys.stdout.write(f"flash-crowd.svg and region-spill.svg are in {_FOLDER}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
