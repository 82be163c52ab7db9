"""Relays tried from here: what `relay-test`, `netcheck` and `node probe` have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.exit_codes import NOTHING_RELAYED, SOME_FAILED, RefusedHereError
from controlplane.cli.session import Session
from controlplane.cli.tables import columns, print_table
from controlplane.cli.words import NOTHING, clean, say
from controlplane.wire.ice_api import IceServer
from controlplane.wire.probe_api import UrlProbe

if TYPE_CHECKING:
    import ssl

RelayCaFile = Annotated[
    Path | None,
    typer.Option(help="PEM file of authorities for the relays' certificates, beside the system's. Without it, the profile's."),
]
_TABLE = "url!0 result:0 connect>2 allocate>2 round_trip>1 total>1"


def authorities(run: Session, ca_file: Path | None) -> ssl.SSLContext:
    """Raises RefusedHereError for a file that is none."""
    from controlplane.turn.trust import trust

    named = run.client.configuration.ca_file
    chosen = ca_file or (Path(named) if named else None)
    try:
        return trust(chosen)
    except OSError as error:
        raise RefusedHereError(f"{chosen} cannot be read as authorities: {error.strerror or error}.") from None


async def probe_servers(servers: Iterable[IceServer], context: ssl.SSLContext) -> list[UrlProbe]:
    """Every TURN URL of an `iceServers` list, all at once."""
    from controlplane.turn.relaying import probe_url
    from controlplane.wire.redacted import Redacted

    asked = [
        probe_url(url, credential=(server.username, Redacted(server.credential)), context=context)
        for server in servers
        if isinstance(server.username, str) and isinstance(server.credential, str)
        for url in server.urls
    ]
    return await asyncio.gather(*asked)


def show_probes(probes: Sequence[UrlProbe]) -> None:
    print_table(
        columns(_TABLE),
        [
            [
                clean(each.url),
                "relayed" if each.ok else clean(each.words or NOTHING),
                _milliseconds(each.connect_milliseconds),
                _milliseconds(each.allocate_milliseconds),
                _milliseconds(each.round_trip_milliseconds),
                _milliseconds(each.milliseconds),
            ]
            for each in probes
        ],
    )


def end_with(probes: Sequence[UrlProbe]) -> None:
    """Ends with the status that a script tells apart. Raises typer.Exit where not all relayed."""
    if not any(each.ok for each in probes):
        raise typer.Exit(NOTHING_RELAYED)
    if not all(each.ok for each in probes):
        raise typer.Exit(SOME_FAILED)


def _milliseconds(value: float | None) -> str:
    return say("milliseconds", value)
