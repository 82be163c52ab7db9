"""turnfleet cred, and turnfleet allocation: who got credentials, and what was relayed with them."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.instants import Since, Until
from controlplane.cli.session import Session, emit
from controlplane.cli.tables import columns as columns_of
from controlplane.cli.tables import print_card, print_table
from controlplane.cli.words import say
from controlplane.client.credentials import Credentials, IssuedCredential
from controlplane.client.records import Allocations
from controlplane.wire.ice_api import SelectionView
from controlplane.wire.records_api import AllocationState

cred = group("ICE credentials: issue, look up, revoke.")
allocation = group("TURN allocations: what was relayed.")

CREDENTIALS = "issued_at!1 id!0 room:1 initiator_client=initiator:2 receiver_client=receiver:3 region:2 expires_at!4 revoked_at!3"
ALLOCATIONS = (
    "started_at!1 id!0 state:1 room:2 region:3 transport:4 bytes_from_client=from_client>2 bytes_to_client=to_client>2 "
    "ended_at!3 end_reason:5"
)
Room = Annotated[str | None, typer.Option(help="Of this room.")]
Client = Annotated[str | None, typer.Option(help="Of this client, as initiator or receiver.")]
Region = Annotated[str | None, typer.Option(help="Of this region.")]
Node = Annotated[str | None, typer.Option(help="Of the node with this id.")]


@command(cred, "issue")
def issue(
    run: Session,
    *,
    room: Annotated[str | None, typer.Option(help="Kept with the record.")] = None,
    initiator: Annotated[str | None, typer.Option(help="Who begins the call; kept with the record.")] = None,
    receiver: Annotated[str | None, typer.Option(help="Who is called; kept with the record.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds until new allocations are refused.")] = None,
    region: Annotated[str | None, typer.Option(help="This region and no other.")] = None,
    near: Annotated[str | None, typer.Option(help="This region, or the nearest to it that has room.")] = None,
    client_address: Annotated[str | None, typer.Option(help="The end user's address, for finding the nearest region.")] = None,
    servers: Annotated[int | None, typer.Option(min=1, max=2, help="How many nodes.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why that node. For operator tokens.")] = False,
) -> None:
    """Issue ICE credentials. They are secrets: with --json, stdout is what RTCPeerConnection takes."""
    issued = run.client.credentials.issue(
        room=room,
        initiator_client=initiator,
        receiver_client=receiver,
        ttl_seconds=ttl,
        fixed_region=region,
        preferred_region=near,
        client_address=client_address,
        servers=servers,
        explain=explain,
    )
    if run.as_json:
        emit(issued.body)
        return
    _show_issued(issued)
    if isinstance(issued.reply.selection, SelectionView):
        _explain(issued.reply.selection)


def _show_issued(issued: IssuedCredential) -> None:
    lines = [
        ("credential", issued.credential_id),
        ("region", say("region", issued.region)),
        ("node", say("node", issued.node_ids)),
        ("selection", f"{issued.selection}{', degraded' if issued.degraded else ''}"),
        ("expires", say("expires_at", issued.expires_at)),
    ]
    for server in issued.reply.ice_servers:
        lines.append(("urls", say("urls", server.urls)))
        if server.username and server.credential:
            lines += [("username", server.username), ("password", server.credential)]
    print_card(lines)


def _explain(selection: SelectionView) -> None:
    typer.echo()
    print_table(
        columns_of("region!0 round_trip>1 utilisation>1 outcome:1"),
        [
            [
                each.region,
                "-" if each.rtt_milliseconds is None else f"{each.rtt_milliseconds:.1f} ms",
                say("utilisation", each.utilisation),
                each.outcome,
            ]
            for each in selection.regions
        ],
    )
    typer.echo(f"\nnode: {selection.node_reason}")
    print_table(
        columns_of("node!0 utilisation>1"),
        [[each.node_id, say("utilisation", each.utilisation)] for each in selection.nodes],
    )


@command(cred, "list")
def list_credentials(
    run: Session,
    *,
    room: Room = None,
    client: Client = None,
    region: Region = None,
    node: Node = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> None:
    """What was issued, the newest first."""
    run.many(
        Credentials.list(room=room, client=client, region=region, node=node, since=since, until=until), CREDENTIALS, limit=limit
    )


@command(cred, "show")
def show(run: Session, credential: str) -> None:
    """One issue: who, when, where, and why there."""
    run.one(Credentials.show(credential))


@command(cred, "revoke")
def revoke(
    run: Session,
    credentials: Annotated[list[str] | None, typer.Argument(metavar="[CREDENTIAL]...", help="Their ids.")] = None,
    *,
    room: Annotated[str | None, typer.Option(help="Instead of ids: all that were issued for this room until now.")] = None,
    client: Annotated[str | None, typer.Option(help="Instead of ids: all that name this client.")] = None,
    yes: Yes = False,
) -> None:
    """End credentials at every relay, and the calls that are made with them."""
    if (bool(credentials), room is not None, client is not None).count(True) != 1:
        raise RefusedHereError("Name what to revoke: ids, or --room, or --client; one of the three.")
    if room is not None:
        run.confirm(f"Revoke every credential of the room {room}?", yes=yes)
        run.done(Credentials.revoke_room(room), f"Every credential of the room {room} is revoked.")
    elif client is not None:
        run.confirm(f"Revoke every credential of the client {client}?", yes=yes)
        run.done(Credentials.revoke_client(client), f"Every credential of the client {client} is revoked.")
    for credential in credentials or []:
        run.done(Credentials.revoke(credential), f"{credential} is revoked.")


@command(allocation, "list")
def list_allocations(
    run: Session,
    *,
    room: Room = None,
    client: Client = None,
    region: Region = None,
    node: Node = None,
    credential: Annotated[str | None, typer.Option(help="Of the credential with this id.")] = None,
    state: Annotated[AllocationState | None, typer.Option(help="Only these.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
) -> None:
    """One line per TURN allocation, the newest first."""
    run.many(
        Allocations.list(
            room=room, client=client, region=region, node=node, credential=credential, state=state, since=since, until=until
        ),
        ALLOCATIONS,
        limit=limit,
    )
