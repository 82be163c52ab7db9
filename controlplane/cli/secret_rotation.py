"""turnfleet secret."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from controlplane.cli.command import Limit, Yes, command, group
from controlplane.cli.exit_codes import RefusedHereError
from controlplane.cli.session import Session, note
from controlplane.cli.watch import Watch, show
from controlplane.cli.words import say
from controlplane.client.fleet import Fleet
from controlplane.wire.rotation_api import MasterKeyView, RotationView, SecretVersionView, SecretView

secret = group("Secrets of nodes: their versions, and rotating them; for operator tokens.")


@command(secret, "status")
def status(
    run: Session,
    *,
    region: Annotated[str | None, typer.Option(help="Of this region.")] = None,
    limit: Limit = 100,
    watch: Watch = False,
) -> None:
    """Every node's secret versions, and what each is for."""
    table = "name!0 region:2 versions:1 staged_at=staged:3 queued:3 drifted:1 master_keys=master_key:4"
    show(run, lambda: run.many(Fleet.secrets(region=region), table, limit=limit, row=_row), watch=watch)


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A node as a line of the table."""

    name: str
    region: str
    versions: str
    staged_at: datetime | None
    queued: bool
    drifted: bool
    master_keys: list[str]


def _row(node: SecretView) -> _Row:
    return _Row(
        name=node.name,
        region=node.region,
        versions=", ".join(_version(each) for each in node.versions),
        staged_at=node.staged_at,
        queued=node.queued,
        drifted=node.drifted,
        master_keys=node.master_keys,
    )


def _version(version: SecretVersionView) -> str:
    until = "" if version.needed_until is None or version.state == "signing" else f" until {say('', version.needed_until)}"
    return f"{version.version} {version.state}{until}" + ("" if version.loaded else " (not in coturn)")


@command(secret, "master-key")
def master_key(run: Session) -> None:
    """Which master key the secrets come from, and whether anything still needs another one."""
    said = run.one(Fleet.master_key(), order=("key_id",))
    for sentence in sentences(said):
        note(sentence)


def sentences(key: MasterKeyView) -> list[str]:
    """Where a change of the master key stands."""
    said = []
    if key.processes_with_another:
        together = key.processes + key.processes_with_another
        said.append(
            f"{key.processes_with_another} of {together} processes have another TURNFLEET_MASTER_KEY: "
            "it is used when all have it, each with the key before as TURNFLEET_MASTER_KEY_PREVIOUS."
        )
    if key.nodes or key.webhooks:
        said.append(
            f"{key.nodes} nodes and {key.webhooks} webhooks still need another key. They are moved by themselves: "
            "keep TURNFLEET_MASTER_KEY_PREVIOUS until then."
        )
    return said or ["Nothing needs another key: TURNFLEET_MASTER_KEY_PREVIOUS can be taken away where it is set."]


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
