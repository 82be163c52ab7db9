"""turnfleet doctor: what is wrong, from where the operator sits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from controlplane import __version__
from controlplane.cli import doctor_judge as judge
from controlplane.cli.doctor_look import Looker
from controlplane.cli.netcheck import check_regions
from controlplane.cli.relays import RelayCaFile, authorities
from controlplane.cli.session import Session, emit, note
from controlplane.cli.tables import columns, print_table
from controlplane.cli.words import clean
from controlplane.client.errors import NotFoundError, PermissionDeniedError, TurnfleetError
from controlplane.client.tokens import Tokens
from controlplane.wire.findings import Finding, exit_status, warning, wrong
from controlplane.wire.tenants_api import TokenView
from controlplane.wire.token_format import parse_token

_STYLES = {"ok": "", "warning": "yellow", "wrong": "bold red"}


def doctor(
    run: Session,
    *,
    relay_ca_file: RelayCaFile = None,
    no_relays: Annotated[bool, typer.Option("--no-relays", help="Do not try to relay from here.")] = False,
) -> None:
    """What is wrong, from here: the way to the API, the token, the fleet, and the relays; with what to do.

    Ends with 1 when something is wrong; warnings do not count.
    """
    found = [*_findings(run, with_relays=not no_relays, relay_ca_file=relay_ca_file)]
    if run.as_json:
        for each in found:
            emit(msgspec.json.encode(each))
    else:
        rows = [[each.state, each.name, clean(f"{each.detail} {_remedy(each)}".rstrip())] for each in found]
        print_table(columns("state!0 check!0 finding:0"), rows, styles=[_STYLES[each.state] for each in found])
        counts = [sum(each.state == state for each in found) for state in ("ok", "warning", "wrong")]
        note("{} ok, {} to look at, {} wrong.".format(*counts))
    if exit_status(found):
        raise typer.Exit(exit_status(found))


def _remedy(found: Finding) -> str:
    return f"→ {found.remedy}" if found.remedy else ""


def _findings(run: Session, *, with_relays: bool, relay_ca_file: RelayCaFile) -> Iterator[Finding]:
    run.attempts = 2
    looker, now = Looker(run.client.configuration), datetime.now(UTC)
    try:
        seen = looker.way()
        yield from judge.way(run.client.configuration.url, seen)
        if seen.failure:
            return
        yield from judge.clock(seen.clock_offset_seconds)
        yield from judge.certificate(looker.certificate_ends_at(), now=now)
        there = looker.version()
        yield from judge.version(__version__, there)
        yield from judge.readiness(looker.readiness())
    finally:
        looker.close()
    yield from _tried("token", lambda: _token(run, now))
    yield from _tried("fleet", lambda: _fleet(run, there))
    yield from _tried("master_key", lambda: judge.master_key(run.client.fleet.master_key()))
    if with_relays:
        yield from _tried("relays", lambda: _relays(run, relay_ca_file), made=warning)


def _tried(name: str, look: Callable[[], list[Finding]], *, made: Callable[[str, str, str], Finding] = wrong) -> list[Finding]:
    """A call that the API refuses is a finding among the others."""
    try:
        return look()
    except TurnfleetError as error:
        return [made(name, str(error), _REMEDIES.get(name, "Log in with an operator token: turnfleet login --url …"))]


_REMEDIES = {"relays": "Name a project to issue in, --project ORGANIZATION/SLUG, with a token that has credentials:issue."}


def _token(run: Session, now: datetime) -> list[Finding]:
    parsed = parse_token(run.profile.token)
    return judge.token(None if parsed is None else parsed.kind, _own(run, parsed.token_id) if parsed else None, now=now)


def _own(run: Session, token_id: str) -> TokenView | None:
    try:
        return run.client.driver.run(Tokens.show(token_id))
    except (PermissionDeniedError, NotFoundError):
        return None


def _fleet(run: Session, there: str | None) -> list[Finding]:
    overview, nodes = run.client.fleet.overview(), [*run.client.fleet.nodes()]
    return [
        *judge.regions(overview.regions),
        *judge.problems(overview.problems),
        *judge.agents(nodes, there),
        *judge.coturns(nodes),
    ]


def _relays(run: Session, ca_file: RelayCaFile) -> list[Finding]:
    return judge.relays(check_regions(run, run.client.regions.list(), authorities(run, ca_file)))
