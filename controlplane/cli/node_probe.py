"""turnfleet node probe."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.command import command
from controlplane.cli.exit_codes import SOME_FAILED
from controlplane.cli.fleet import node
from controlplane.cli.relays import end_with, show_probes
from controlplane.cli.session import Session, note
from controlplane.cli.words import clean, say
from controlplane.client.fleet import Fleet
from controlplane.wire.probe_api import NodeProbeView


@command(node, "probe")
def probe_node(
    run: Session,
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name or its id.")],
    *,
    peers: Annotated[bool, typer.Option("--peers", help="Also ask the relay for addresses that no client may reach.")] = False,
) -> None:
    """Relay a packet through each listener of a node, now, from the control plane. For operator tokens.

    Ends with 0 when all is as it should be, 6 when some listener failed or a forbidden peer is permitted, 7 when nothing relayed.
    """
    probed = run.one(Fleet.probe(name, peers=peers), show=_show)
    if probed.as_expected:
        return
    end_with(probed.listeners)
    if not probed.ok:
        raise typer.Exit(SOME_FAILED)


def _show(probed: NodeProbeView) -> None:
    if probed.listeners:
        show_probes(probed.listeners)
    if probed.permitted_peers:
        note(f"Permitted, and must not be: {clean(', '.join(probed.permitted_peers))}.")
    elif probed.refused_peers:
        note(f"All {len(probed.refused_peers)} forbidden peers are refused.")
    if probed.note is not None:
        note(say("note", probed.note))
