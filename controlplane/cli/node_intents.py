"""turnfleet node: join-token, cordon, uncordon, drain, undrain, forget."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from controlplane.cli.command import Yes, command
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.fleet import node
from controlplane.cli.instants import Span
from controlplane.cli.session import Session, note
from controlplane.client.call import Call
from controlplane.client.fleet import Fleet
from controlplane.wire.fleet_api import JoinTokenView, NodeView

__all__ = ["node"]

_LOOK_SECONDS = 2.0
Name = Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")]
Reason = Annotated[str, typer.Option(help="For whoever looks at the node next.")]


@command(node, "join-token")
def join_token(
    run: Session,
    *,
    region: Annotated[str | None, typer.Option(help="The region of the new node.")] = None,
    name: Annotated[str | None, typer.Option(help="Only a node of this name may use it.")] = None,
    replace: Annotated[str | None, typer.Option(metavar="NODE", help="Instead of --region: take its place and name.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a node that is in service.")] = False,
    ttl: Annotated[int, typer.Option(parser=Span(least=60, most=604_800), metavar="SPAN", help="How long it is good for.")] = 3600,
) -> None:
    """A one-time token for a new node, or for a new host in place of one, as a line to run on its host."""
    if (region is None) == (replace is None):
        raise RefusedHereError("Say either --region of a new node, or --replace with the node whose place it takes.")

    def show(made: JoinTokenView) -> None:
        where = f"TURNFLEET_AGENT_URL={run.client.configuration.url}"
        named = "" if made.name is None else f" TURNFLEET_AGENT_NAME={made.name}"
        typer.echo(f"{where}{named} TURNFLEET_AGENT_JOIN_TOKEN={made.join_token} turnfleet-agent run")
        note(f"Run this line on the relay host, once, within {ttl // 60} minutes. It is shown only now.")
        if made.replaces is not None:
            note(f"When it has joined, the old {made.name} is forgotten: switch its host off.")

    run.one(Fleet.create_join_token(region, name=name, replace=replace, force=force, ttl_seconds=ttl), show=show)


@command(node, "rotate-token")
def rotate_token(run: Session, name: Name, *, reason: Reason = "") -> None:
    """Give a node's agent a new token; the one so far works until the agent has shown the new one."""
    run.one(
        Fleet.rotate_node_token(name, reason=reason),
        show=lambda found: note(f"{found.name} gets its next token with its next heartbeat, number {found.token.generation + 1}."),
    )


@command(node, "cordon")
def cordon(run: Session, name: Name, *, reason: Reason = "") -> None:
    """Give a node no new clients; those it has stay."""
    _change(run, Fleet.cordon(name, reason=reason))


@command(node, "uncordon")
def uncordon(run: Session, name: Name, *, reason: Reason = "") -> None:
    """Give a cordoned node new clients again."""
    _change(run, Fleet.uncordon(name, reason=reason))


@command(node, "drain")
def drain(
    run: Session,
    name: Name,
    *,
    reason: Reason = "",
    deadline: Annotated[
        int, typer.Option(parser=Span(least=0, most=604_800), metavar="SPAN", help="What is left then is ended.")
    ] = 3600,
    no_force: Annotated[bool, typer.Option("--no-force", help="Let what is left at the deadline run out by itself.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the node is drained.")] = False,
) -> None:
    """Take a node out of service without breaking a call before the deadline."""
    drained = _change(run, Fleet.drain(name, reason=reason, deadline_seconds=deadline, force=not no_force))
    if wait:
        _wait(run, drained.node_id)


@command(node, "undrain")
def undrain(run: Session, name: Name, *, reason: Reason = "") -> None:
    """Put a draining or drained node into service again."""
    _change(run, Fleet.undrain(name, reason=reason))


@command(node, "forget")
def forget(
    run: Session,
    name: Name,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also a node that is in service.")] = False,
    yes: Yes = False,
) -> None:
    """Forget a node that is gone: its token stops working."""
    run.confirm(f"Forget {name}?", yes=yes)
    run.done(Fleet.forget(name, force=force), f"{name} is forgotten.")


def _change(run: Session, call: Call[NodeView]) -> NodeView:
    return run.one(call, show=lambda changed: note(_said(changed)))


def _wait(run: Session, node_id: str) -> None:
    """Raises RefusedHereError when somebody ends the drain meanwhile."""
    said = ""
    while True:
        found = run.client.driver.run(Fleet.node(node_id))
        if found.drain is None:
            raise RefusedHereError(f"{found.name} is not draining any more: it is {found.intent}.")
        if not run.as_json and _said(found) != said:
            said = _said(found)
            note(said)
        if found.drain.phase == "drained":
            return
        time.sleep(_LOOK_SECONDS)


def _said(changed: NodeView) -> str:
    """What the node is now, in a sentence."""
    if changed.drain is None:
        return f"{changed.name} is {changed.intent}."
    left = changed.drain.allocations_left
    live = "an unknown number of allocations" if left is None else f"{left} allocation{'' if left == 1 else 's'}"
    until = f"{changed.drain.deadline_at.astimezone():%Y-%m-%d %H:%M:%S}"
    return {
        "waiting": f"{changed.name} gets no new clients; credentials that are out stay good until {until} at most; {live} live.",
        "emptying": f"{changed.name} lets nobody in any more; {live} left, until {until}"
        + ("." if changed.drain.force else " and longer."),
        "ending": f"{changed.name} is past its deadline: {live} are being ended.",
        "drained": f"{changed.name} is drained.",
    }.get(changed.drain.phase, f"{changed.name} is draining.")
