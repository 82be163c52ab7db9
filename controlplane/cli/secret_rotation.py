"""turnfleet secret."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.session import Session, note
from controlplane.cli.words import say
from controlplane.client.fleet import Fleet
from controlplane.wire.rotation_api import RotationView

secret = group("Secrets of nodes: their versions, and rotating them; for operator tokens.")


@command(secret, "status")
def status(run: Session, *, region: Annotated[str | None, typer.Option(help="Of this region.")] = None, limit: Limit = 100) -> None:
    """Every node's secret versions, and what each is for."""
    run.many(Fleet.secrets(region=region), "name!0 region:2 versions:1 staged_at=staged:3 queued:4 drifted:1", limit=limit)


@command(secret, "rotate")
def rotate(
    run: Session,
    *,
    node: Annotated[str | None, typer.Option(metavar="NODE", help="This node's: its name or its id.")] = None,
    region: Annotated[str | None, typer.Option(help="Those of this region.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those of all nodes.")] = False,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="The secrets so far are out at once, with all credentials of theirs.")
    ] = False,
    reason: Annotated[str, typer.Option(help="For the audit and the events.")] = "",
    yes: Yes = False,
) -> None:
    """Give nodes a new secret, without refusing anybody. Asked for again while it goes on, it is done once more afterwards."""
    if [node is not None, region is not None, everything].count(True) != 1:
        raise RefusedHereError("Say whose secrets: --node NODE, --region REGION, or --all.")
    if emergency:
        run.confirm("End every credential that was signed with these secrets?", yes=yes)
    if node is not None:
        call = Fleet.rotate_node_secret(node, emergency=emergency, reason=reason)
    else:
        call = Fleet.rotate_secrets(region=region, emergency=emergency, reason=reason)
    run.one(call, show=_show)


def _show(asked: RotationView) -> None:
    said = f"{asked.staged} of {asked.nodes} nodes get a new secret now"
    if not asked.queued:
        note(f"{said}.")
        return
    until = "" if asked.queued_until is None else f", not before {say('queued_until', asked.queued_until)}"
    note(f"{said}; {asked.queued} when their last rotation has ended{until}.")
