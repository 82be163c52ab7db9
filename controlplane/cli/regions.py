"""turnfleet region."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from controlplane.cli.command import command, group
from controlplane.cli.exit_codes import NOT_FOUND
from controlplane.cli.fleet import NODE_ROW
from controlplane.cli.session import Session, card_lines, emit, note, show_table
from controlplane.cli.status import show_problems
from controlplane.cli.tables import print_card, print_line
from controlplane.cli.watch import Watch, show
from controlplane.client.fleet import Fleet, Regions
from controlplane.wire.fleet_api import FleetRegionView, NodeView, OpenProblem

region = group("Regions, and whether they take new credentials.")


class RegionShown(msgspec.Struct, frozen=True, kw_only=True):
    """What `region show --json` prints."""

    region: FleetRegionView
    nodes: list[NodeView]
    problems: list[OpenProblem]


@command(region, "list")
def list_regions(run: Session, *, watch: Watch = False) -> None:
    """Every region that credentials can be had in."""
    row = "slug!0 name:1 city:2 nat2=country:3 is_online=online:1 is_operational=operational:1"
    show(run, lambda: run.rows(Regions.list(), row), watch=watch)


@command(region, "show")
def show_region(
    run: Session, slug: Annotated[str, typer.Argument(metavar="REGION", help="Its slug.")], *, watch: Watch = False
) -> None:
    """One region: its numbers, its nodes, and what a person should look at; for operator tokens."""

    def draw() -> None:
        seen = run.client.fleet.overview()
        found = next((each for each in seen.regions if each.slug == slug), None)
        if found is None:
            note(f"turnfleet: There is no region {slug!r}; there are: {', '.join(each.slug for each in seen.regions) or 'none'}.")
            raise typer.Exit(NOT_FOUND)
        nodes = [*run.client.fleet.nodes(region=slug)]
        shown = RegionShown(region=found, nodes=nodes, problems=[each for each in seen.problems if each.region == slug])
        if run.as_json:
            emit(msgspec.json.encode(shown))
        else:
            _show(shown)

    show(run, draw, watch=watch)


@command(region, "put")
def put_region(
    run: Session,
    slug: Annotated[str, typer.Argument(metavar="REGION", help="Its slug: lower-case letters, digits and `-`.")],
    *,
    name: Annotated[str, typer.Option(help="As people call it.")],
    city: Annotated[str, typer.Option(help="Where its relays stand.")],
    country: Annotated[str, typer.Option(metavar="CODE", help="Of the city: two capital letters, ISO 3166-1.")],
    latitude: Annotated[
        float, typer.Option(min=-90, max=90, help="Of the city, in degrees: callers are sent to what is near them.")
    ],
    longitude: Annotated[float, typer.Option(min=-180, max=180, help="In degrees.")],
) -> None:
    """Make a region, or change its name and place; for operator tokens."""
    asked = Fleet.put_region(slug, name=name, city=city, country=country, latitude=latitude, longitude=longitude)
    run.one(asked, order=("slug", "name"))


def _show(shown: RegionShown) -> None:
    print_card(card_lines(shown.region, ("slug", "name")))
    print_line("")
    show_table(shown.nodes, NODE_ROW.replace("region:1 ", ""))
    show_problems(shown.problems)
