"""turnfleet events."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from controlplane.cli.command import Limit, command, group
from controlplane.cli.fleet import node as node_commands
from controlplane.cli.instants import Since, Until
from controlplane.cli.session import Session, emit, note
from controlplane.cli.words import clean, say_instant
from controlplane.client.errors import EventsMissedError, TurnfleetError
from controlplane.client.fleet import Fleet
from controlplane.wire.events_api import FleetEventView

events = group("What happened to nodes and regions; for operator tokens.")

_ROW = "happened_at!0 kind!0 region:2 node:1 was:1 became:1 reason:2 detail:3 actor:4"
_BREATH_SECONDS = 1.0
Node = Annotated[str | None, typer.Option(help="Of this node: its name or its id.")]
Region = Annotated[str | None, typer.Option(help="In this region.")]
Kind = Annotated[str | None, typer.Option(help="Of this kind, such as node.health.")]


@command(events, "list")
def list_events(
    run: Session,
    *,
    node: Node = None,
    region: Region = None,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> None:
    """What happened, the newest first."""
    run.many(Fleet.events(node=node, region=region, kind=kind, since=since, until=until), _ROW, limit=limit)


@command(node_commands, "events")
def events_of_node(
    run: Session, name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")], *, limit: Limit = 100
) -> None:
    """What happened to one node, the newest first."""
    run.many(Fleet.events(node=name), _ROW, limit=limit)


@command(events, "tail")
def tail(run: Session, *, node: Node = None, region: Region = None, kind: Kind = None) -> None:
    """What happens from now on, a line per event, until Ctrl-C. When the connection is lost it goes on where it was."""
    after: int | None = None
    try:
        while True:
            wanted = Fleet.stream_events(node=node, region=region, kind=kind, after=after)
            try:
                for raw in run.client.driver.follow_raw(wanted, interrupted=_say_interrupted):
                    if run.as_json:
                        emit(bytes(raw))
                    else:
                        sys.stdout.write(_line(wanted.decode(raw)) + "\n")
                    sys.stdout.flush()  # somebody waits for it, also behind a pipe
            except EventsMissedError as missed:
                note(f"Some events are not shown. {missed} It is: turnfleet events list")
                after = missed.last_event_id
                time.sleep(_BREATH_SECONDS)
    except KeyboardInterrupt:
        return


def _say_interrupted(error: TurnfleetError) -> None:
    note(clean(f"{error} It is tried again."))


def _line(event: FleetEventView) -> str:
    subject = "/".join(part for part in (event.region, event.node or event.node_id) if part)
    change = f"{event.was or '-'} → {event.became}" if event.became else ""
    by = "" if event.actor == "system" else f"by {event.actor}"
    parts = [say_instant(event.happened_at), event.kind, subject, change, event.reason, event.detail, by]
    return "  ".join(clean(part) for part in parts if part)
