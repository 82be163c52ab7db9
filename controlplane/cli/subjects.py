"""turnfleet room, turnfleet client, turnfleet usage: the drill-down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from controlplane.cli.command import Limit, command, group
from controlplane.cli.credentials import ALLOCATIONS, CREDENTIALS
from controlplane.cli.instants import Since, Until
from controlplane.cli.session import Session, card_lines, show_table
from controlplane.cli.tables import print_card
from controlplane.client.records import Clients, Rooms, Usage
from controlplane.wire.records_api import Bucket, ClientDetail, Companion, Dimension, RoomDetail

room = group("Rooms that credentials were issued for.")
client = group("Clients that credentials were issued for.")

_SUBJECTS = (
    "key!0 last_seen_at=last_seen!1 credentials>2 allocations>2 live_allocations=live>1 bytes_total=relayed>1 minutes>3 "
    "first_seen_at=first_seen!4"
)
_USED = (
    " key!0 credentials>1 allocations>1 bytes_from_client=from_client>2 bytes_to_client=to_client>2 bytes_total=relayed>1 minutes>1"
)
_HOURS, _DAYS = "at=hour!0" + _USED, "at=day@0" + _USED


@command(room, "list")
def list_rooms(run: Session, *, limit: Limit = 100) -> None:
    """Every room that was named, with its totals."""
    run.many(Rooms.list(), _SUBJECTS, limit=limit)


@command(room, "show")
def show_room(run: Session, name: Annotated[str, typer.Argument(metavar="ROOM")]) -> None:
    """One room: totals, its clients, its latest credentials and allocations."""
    run.one(Rooms.show(name), show=lambda detail: _show_detail(detail, "clients", detail.clients))


@command(client, "list")
def list_clients(run: Session, *, limit: Limit = 100) -> None:
    """Every client that was named, with its totals."""
    run.many(Clients.list(), _SUBJECTS, limit=limit)


@command(client, "show")
def show_client(run: Session, name: Annotated[str, typer.Argument(metavar="CLIENT")]) -> None:
    """One client: totals, its rooms, its latest credentials and allocations."""
    run.one(Clients.show(name), show=lambda detail: _show_detail(detail, "rooms", detail.rooms))


def _show_detail(detail: RoomDetail | ClientDetail, title: str, companions: list[Companion]) -> None:
    print_card(card_lines(detail, without=(title, "latest_credentials", "latest_allocations")))
    parts: list[tuple[str, Sequence[object], str]] = [
        (title, companions, "key!0 last_seen_at=last_seen!1 url:2"),
        ("latest credentials", detail.latest_credentials, CREDENTIALS),
        ("latest allocations", detail.latest_allocations, ALLOCATIONS),
    ]
    for heading, rows, columns in parts:
        if rows:
            typer.echo(f"\n{heading}")
            show_table(rows, columns)


def usage(
    run: Session,
    *,
    group_by: Annotated[Dimension | None, typer.Option(help="What a row is of. Not given: the whole project.")] = None,
    bucket: Annotated[Bucket | None, typer.Option(help="How long a row is. Not given: a day.")] = None,
    room: Annotated[str | None, typer.Option(help="This room alone.")] = None,
    client: Annotated[str | None, typer.Option(help="This client alone.")] = None,
    region: Annotated[str | None, typer.Option(help="This region alone.")] = None,
    node: Annotated[str | None, typer.Option(help="The node with this id alone.")] = None,
    since: Since = None,
    until: Until = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    limit: Limit = 100,
) -> None:
    """What was used in each hour or day: credentials, allocations, relayed bytes, minutes."""
    if csv:
        answer = run.client.usage.csv(
            group_by=group_by, bucket=bucket, room=room, client=client, region=region, node=node, since=since, until=until
        )
        typer.echo(answer, nl=False)
        return
    wanted = Usage.list(
        group_by=group_by, bucket=bucket, room=room, client=client, region=region, node=node, since=since, until=until
    )
    run.many(wanted, _HOURS if bucket == "hour" else _DAYS, limit=limit)
