"""turnfleet fleet, turnfleet node, and turnfleet region."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from controlplane.cli.command import Limit, command, group
from controlplane.cli.evidence import show_evidence
from controlplane.cli.instants import Since, Until
from controlplane.cli.session import Session, emit
from controlplane.client.fleet import Fleet, Regions

fleet = group("The fleet as a whole; for operator tokens.")
node = group("Relay nodes; for operator tokens.")
region = group("Regions, and whether they take new credentials.")


@command(fleet, "export")
def export_fleet(run: Session) -> None:
    """The fleet as `turnfleet sim what-if` reads it, always as JSON."""
    emit(run.client.driver.answer(Fleet.export()).body)


@command(node, "list")
def list_nodes(
    run: Session,
    *,
    region: Annotated[str | None, typer.Option(help="Of this region.")] = None,
    health: Annotated[Literal["unknown", "up", "suspect", "down"] | None, typer.Option(help="Of this health.")] = None,
    limit: Limit = 100,
) -> None:
    """Every node by name."""
    run.many(
        Fleet.nodes(region=region, health=health),
        "name!0 region:1 health:1 health_reason=reason:3 intent:3 eligible:1 utilisation>2 "
        "last_report_age_seconds=last_report>4 node_id!2",
        limit=limit,
    )


@command(node, "show")
def show_node(run: Session, name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")]) -> None:
    """One node: what is observed, what is wanted, and what follows from both."""
    run.one(Fleet.node(name), show=show_evidence)


def audit(
    run: Session,
    *,
    organization: Annotated[str | None, typer.Option(help="In this organization.")] = None,
    actor: Annotated[str | None, typer.Option(help="By the token with this id.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as project.patch.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> None:
    """Who changed what, the newest first; for operator tokens."""
    run.many(
        Fleet.audit(organization=organization, actor=actor, action=action, since=since, until=until),
        "at!0 action!0 object:1 actor!2 address:4 project:3 organization:5",
        limit=limit,
    )


@command(region, "list")
def list_regions(run: Session) -> None:
    """Every region that credentials can be had in."""
    run.rows(Regions.list(), "slug!0 name:1 city:2 nat2=country:3 is_online=online:1 is_operational=operational:1")
