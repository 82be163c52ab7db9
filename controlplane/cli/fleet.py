"""turnfleet fleet, and looking at nodes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from controlplane.cli.command import Limit, command, group
from controlplane.cli.evidence import print_evidence
from controlplane.cli.instants import Since, Until
from controlplane.cli.session import Session, card_lines, emit
from controlplane.cli.tables import print_card
from controlplane.cli.watch import Watch, show
from controlplane.cli.words import clean
from controlplane.client.fleet import Fleet
from controlplane.wire.fleet_api import NodeDetail
from controlplane.wire.found_api import FoundView

fleet = group("The fleet as a whole; for operator tokens.")
node = group("Relay nodes; for operator tokens.")
NODE_ROW = (
    "name!0 region:1 health:1 health_reason=reason:3 intent:3 eligible:1 ineligible_because=because:2 utilisation>2 "
    "last_report_age_seconds=last_report>4 coturn_version=coturn:5 agent_version=agent:6 node_id!2"
)


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
    watch: Watch = False,
) -> None:
    """Every node by name."""
    show(run, lambda: run.many(Fleet.nodes(region=region, health=health), NODE_ROW, limit=limit), watch=watch)


@command(node, "show")
def show_node(
    run: Session, name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")], *, watch: Watch = False
) -> None:
    """One node: what is observed, what is wanted, and what follows from both."""
    show(run, lambda: run.one(Fleet.node(name), show=_print_node), watch=watch)


def _print_node(found: NodeDetail) -> None:
    lines = card_lines(found, ("name", "node_id"), without=("found", "evidence"))
    print_card(lines if found.found is None else [*lines, *_found_lines(found.found)])
    print_evidence(found.evidence)


def _found_lines(found: FoundView) -> list[tuple[str, str]]:
    """What is wrong comes last, where people look first."""
    order = ("ok", "warning", "wrong")
    findings = sorted(found.findings, key=lambda one: order.index(one.state))
    lines = [("found", ""), *((f"  {name}", text) for name, text in card_lines(found, without=("findings",)))]
    return lines + [(f"  {one.state}", clean(f"{one.name}: {one.detail} {one.remedy}".rstrip())) for one in findings]


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
