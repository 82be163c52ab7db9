"""Utilisation over time as a picture. The only file that needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from controlplane.fleet.policy import Policy
from controlplane.sim.sessions import Floats


def plot_utilisation(path: Path, series: Mapping[str, Floats], *, changed_at_seconds: float, policy: Policy) -> None:
    """One line per region, second by second; the band in which regions spill is shaded."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    spill_from, spill_to = policy.spill_from_utilisation, policy.full_from_utilisation
    axes.axhspan(spill_from * 100, spill_to * 100, color="0.92", label="spills to other regions")
    axes.axvline(changed_at_seconds, color="0.5", linestyle=":", label="the change")
    for name, values in series.items():
        axes.plot(values * 100, label=name, linewidth=1.4)
    axes.set_xlabel("seconds")
    axes.set_ylabel("load over safe capacity, %")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path, dpi=150)
