"""turnfleet node history, turnfleet region history: small charts of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import typer

from controlplane.cli.command import command
from controlplane.cli.fleet import node
from controlplane.cli.instants import Since, Until
from controlplane.cli.regions import region
from controlplane.cli.session import Session, note, show_table
from controlplane.cli.tables import Column, print_table
from controlplane.cli.words import NOTHING, clean, say, say_instant, say_seconds
from controlplane.client.fleet import Fleet
from controlplane.wire.history_api import NodeHistory, NodeHistoryPoint, RegionHistory, RegionHistoryPoint

_COLUMNS = 48
_BARS = "▁▂▃▄▅▆▇█"
_HEALTH = {"up": "▁", "suspect": "▄", "unknown": "?", "down": "█"}
_WORST = ("up", "suspect", "unknown", "down")
_EVENTS = 10
_EVENT_COLUMNS = "happened_at!0 kind!0 was:1 became:1 reason:2 detail:3"
_TABLE = [Column(field="what", title="", rank=0, whole=True), Column(field="least", title="least", right=True, whole=True)]
_TABLE += [
    Column(field="most", title="most", right=True, whole=True),
    Column(field="line", title="over time", rank=0, whole=True),
]

Point = TypeVar("Point", NodeHistoryPoint, RegionHistoryPoint)


@command(node, "history")
def node_history(
    run: Session,
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")],
    *,
    since: Since = None,
    until: Until = None,
) -> None:
    """What a node carried and how it was over time; the last day if no time is named. For operator tokens."""
    run.one(Fleet.node_history(name, since=since, until=until), show=_show_node)


@command(region, "history")
def region_history(
    run: Session,
    slug: Annotated[str, typer.Argument(metavar="REGION", help="Its slug.")],
    *,
    since: Since = None,
    until: Until = None,
) -> None:
    """What a region carried and whether it took clients over time; the last day if no time is named. For operator tokens."""
    run.one(Fleet.region_history(slug, since=since, until=until), show=_show_region)


def _show_node(found: NodeHistory) -> None:
    cells = _cells(found.points, found.since, found.until)
    _show(
        found,
        f"{found.name} in {found.region}",
        [
            ["health", "", "", _health_line(cells)],
            _row("eligible", "share", cells, lambda point: point.eligible_ratio),
            _row("from clients and peers", "bits_per_second", cells, lambda point: point.receive_bits_per_second),
            _row("to clients and peers", "bits_per_second", cells, lambda point: point.transmit_bits_per_second),
            _row("allocations", "allocations", cells, lambda point: point.allocations, lambda point: point.max_allocations),
            _row("cpu", "cpu_ratio", cells, lambda point: point.cpu_ratio, lambda point: point.max_cpu_ratio),
            _row("memory", "memory_ratio", cells, lambda point: point.memory_ratio),
            _row("utilisation", "utilisation", cells, lambda point: point.utilisation, lambda point: point.max_utilisation),
        ],
    )


def _show_region(found: RegionHistory) -> None:
    cells = _cells(found.points, found.since, found.until)
    _show(
        found,
        found.slug,
        [
            _row("operational", "share", cells, lambda point: point.operational_ratio),
            _row("nodes", "nodes", cells, lambda point: point.nodes),
            _row("eligible nodes", "nodes", cells, lambda point: point.eligible_nodes),
            _row("from clients and peers", "bits_per_second", cells, lambda point: point.receive_bits_per_second),
            _row("to clients and peers", "bits_per_second", cells, lambda point: point.transmit_bits_per_second),
            _row("allocations", "allocations", cells, lambda point: point.allocations, lambda point: point.max_allocations),
            _row("utilisation", "utilisation", cells, lambda point: point.utilisation, lambda point: point.max_utilisation),
        ],
    )


def _show(found: NodeHistory | RegionHistory, title: str, lines: Sequence[list[str]]) -> None:
    typer.echo(f"{clean(title)}, {say_instant(found.since)} to {say_instant(found.until)}, by {say_seconds(found.step_seconds)}")
    if not found.points:
        note("Nothing is kept of that time.")
    else:
        print_table(_TABLE, lines)
    if found.events:
        typer.echo("")
        show_table(found.events[-_EVENTS:], _EVENT_COLUMNS)


def _cells(points: Sequence[Point], since: datetime, until: datetime) -> list[list[Point]]:
    """The points under each column of the chart; none where nothing is known."""
    cells: list[list[Point]] = [[] for _ in range(_COLUMNS)]
    whole = max(1.0, (until - since).total_seconds())
    for point in points:
        cells[min(_COLUMNS - 1, int((point.at - since).total_seconds() / whole * _COLUMNS))].append(point)
    return cells


def _row(
    title: str,
    unit: str,
    cells: Sequence[Sequence[Point]],
    mean: Callable[[Point], float | None],
    most: Callable[[Point], float | None] | None = None,
) -> list[str]:
    """Its least and its most, and a bar for each column's mean; a blank where nothing is known."""
    means = [[value for point in cell if (value := mean(point)) is not None] for cell in cells]
    values = [value for cell in means for value in cell]
    highest = max((value for cell in cells for point in cell if (value := (most or mean)(point)) is not None), default=None)
    top = max(values, default=0.0) or 1.0
    line = "".join(_BARS[min(7, int(sum(cell) / len(cell) / top * 7.999))] if cell else " " for cell in means)
    return [title, _said(unit, min(values, default=None)), _said(unit, highest), line]


def _said(unit: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value * 100:.1f} %" if unit == "share" else say(unit, value)


def _health_line(cells: Sequence[Sequence[NodeHistoryPoint]]) -> str:
    """The worst of each column."""
    return "".join(_HEALTH.get(max((point.health for point in cell), key=_WORST.index), "?") if cell else " " for cell in cells)
