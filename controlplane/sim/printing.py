"""What `turnfleet sim` shows to people: tables on stdout, progress on stderr."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from controlplane.sim.compare import Comparison
from controlplane.sim.what_if import Answer, RegionAnswer


def progress_on_stderr() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _table(*titles: str) -> Table:
    """The first column is text, the others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(titles):
        table.add_column(title, justify="right" if number else "left", no_wrap=not number)
    return table


def print_comparisons(rows: Sequence[Comparison]) -> None:
    table = _table("POLICY", "FLASH PEAK", "STEADY PEAK", "P99 SPREAD", "OVER CAPACITY")
    for row in rows:
        table.add_row(
            row.policy,
            f"{row.flash_peak_vs_oracle:.3f}",
            f"{row.steady_peak_vs_oracle:.3f}",
            f"{row.p99_spread_points:.1f}",
            f"{row.placed_over_capacity:.1f}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "\nPeaks: the fullest node, as a multiple of the oracle's. Spread: in the crowd, points between the fleet and the 99th"
        " percentile of its nodes. Over capacity: sessions placed on a node that was full already."
    )


def print_answer(answer: Answer) -> None:
    console = Console(highlight=False, markup=False)
    console.print("It holds." if answer.holds else "It does not hold.")
    for sentence in answer.because:
        console.print(f"  {sentence}")
    console.print(f"  {answer.requests} requests, {answer.refused} refused.\n")
    table = _table("REGION", "OFFERED", "HIGHEST", "FULLEST NODE", "REFUSED", "ITS CALLERS WENT TO")
    table.columns[-1].justify = "left"
    for region in answer.regions:
        table.add_row(
            region.region,
            f"{region.offered_bits_per_second / 1e6:,.0f} Mbit/s",
            f"{region.highest_utilisation:.0%}",
            f"{region.highest_node_utilisation:.0%}",
            f"{region.refused_share:.1%}",
            _where(region),
        )
    console.print(table)


def _where(region: RegionAnswer) -> str:
    most_first = sorted(region.served_in.items(), key=lambda each: -each[1])
    return ", ".join(f"{slug} {share:.1%}" for slug, share in most_first) or "-"
