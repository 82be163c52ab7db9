"""turnfleet status: the fleet on one screen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import typer

from controlplane.cli.exit_codes import FAILED
from controlplane.cli.session import Session, show_table
from controlplane.cli.tables import columns, print_card, print_line, print_table
from controlplane.cli.watch import Watch, show
from controlplane.cli.words import clean, say, say_instant
from controlplane.client.fleet import Fleet
from controlplane.wire.fleet_api import Degraded, FleetRegionView, OpenProblem, Overview

REGION_ROW = (
    "slug=region!0 is_operational=takes_clients:1 nodes>2 up>2 eligible_nodes=eligible>1 utilisation>1 allocations>2 "
    "bits_per_second=relayed>3 safe_bits_per_second=safe>4"
)
_STYLES = {"critical": "bold red", "warning": "yellow"}
_DEGRADED = {
    "view_held": "Most of the fleet is silent at once: silence removes no node for now.",
    "redis_unreachable": "Redis does not answer: replicas do not see each other's heartbeats.",
    "database_unreachable": "PostgreSQL does not answer: issues wait in the journal.",
    "journal_failing": "The journal cannot be written: issuing answers 503.",
}


class RegionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A region as a line of a table."""

    slug: str
    is_operational: bool
    nodes: int
    up: int
    eligible_nodes: int
    utilisation: float | None
    allocations: int
    bits_per_second: float
    safe_bits_per_second: float


def status(run: Session, *, watch: Watch = False) -> None:
    """The fleet on one screen: totals, regions, and what a person should look at.

    Ends with 1 when something critical is open.
    """

    def draw() -> None:
        seen = run.one(Fleet.overview(), show=_show)
        if not watch and any(each.severity == "critical" for each in seen.problems):
            raise typer.Exit(FAILED)

    show(run, draw, watch=watch)


def _show(seen: Overview) -> None:
    totals = seen.totals
    health = ", ".join(f"{count} {name}" for name, count in totals.nodes_by_health.items() if count) or "none"
    print_card(
        [
            ("at", say_instant(seen.at)),
            ("regions", f"{totals.operational_regions} of {totals.regions} take new clients"),
            ("nodes", f"{health}; {totals.eligible_nodes} of {totals.nodes} take new clients"),
            ("allocations", f"{totals.allocations:,}, relaying {say('bits_per_second', totals.bits_per_second)}"),
            ("credentials", f"{seen.credentials_per_second:,.1f} a second at the replica that answered"),
        ]
    )
    if seen.regions:
        print_line("")
        show_regions(seen.regions)
    show_problems(seen.problems)
    show_degraded(seen.degraded)


def show_regions(regions: Sequence[FleetRegionView]) -> None:
    show_table([row_of(each) for each in regions], REGION_ROW)


def row_of(region: FleetRegionView) -> RegionRow:
    return RegionRow(
        slug=region.slug,
        is_operational=region.is_operational,
        nodes=region.nodes,
        up=region.nodes_by_health.get("up", 0),
        eligible_nodes=region.eligible_nodes,
        utilisation=region.utilisation,
        allocations=region.allocations,
        bits_per_second=region.bits_per_second,
        safe_bits_per_second=region.safe_bits_per_second,
    )


def show_problems(problems: Sequence[OpenProblem]) -> None:
    print_line("")
    if not problems:
        print_line("No open problems.")
        return
    where = [each.region or "" for each in problems]
    shown = columns("severity!0 region!1 problem:0" if any(where) else "severity!0 problem:0")
    cells = [
        [each.severity, *([clean(place)] if any(where) else []), clean(each.what)]
        for each, place in zip(problems, where, strict=True)
    ]
    print_table(shown, cells, styles=[_STYLES.get(each.severity, "") for each in problems])


def show_degraded(degraded: Degraded) -> None:
    """Of the replica that answered."""
    for name, sentence in _DEGRADED.items():
        if getattr(degraded, name):
            print_line(sentence, style=_STYLES["warning"])
