"""turnfleet relay-test: what an application would get, tried."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from controlplane.cli.relays import RelayCaFile, authorities, end_with, probe_servers, show_probes
from controlplane.cli.session import Session, emit, note
from controlplane.wire.probe_api import UrlProbe


class RelayTest(msgspec.Struct, frozen=True, kw_only=True):
    """What --json prints."""

    ok: bool
    """Every URL relayed."""
    credential_id: str
    region: str
    node_ids: list[str]
    urls: list[UrlProbe]


def relay_test(
    run: Session,
    *,
    region: Annotated[str | None, typer.Option(help="In this region and no other.")] = None,
    relay_ca_file: RelayCaFile = None,
) -> None:
    """Issue a credential, and relay a packet through every TURN URL that comes with it.

    For cron: ends with 0 when all of them relayed, 6 when some failed, 7 when nothing relayed, and as every command does when the
    API refused.
    """
    context = authorities(run, relay_ca_file)
    issued = run.client.credentials.issue(fixed_region=region)
    probes = asyncio.run(probe_servers(issued.reply.ice_servers, context))
    relayed = sum(each.ok for each in probes)
    if run.as_json:
        made = RelayTest(
            ok=bool(probes) and relayed == len(probes),
            credential_id=issued.credential_id,
            region=issued.region,
            node_ids=list(issued.node_ids),
            urls=probes,
        )
        emit(msgspec.json.encode(made))
    elif probes:
        show_probes(probes)
    note(f"{issued.region}: {relayed} of {len(probes)} URLs relayed (credential {issued.credential_id}).")
    end_with(probes)
