"""turnfleet region: roll, rolls, roll-stop, roll-resume."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import typer

from controlplane.cli.command import Limit, Yes, command
from controlplane.cli.exit_codes import FAILED
from controlplane.cli.instants import Span
from controlplane.cli.regions import region
from controlplane.cli.session import Session, emit, note
from controlplane.cli.watch import AWAY, Away
from controlplane.cli.words import clean
from controlplane.client.call import Call
from controlplane.client.fleet import Fleet
from controlplane.wire.rolls_api import RollView

_LOOK_SECONDS = 2.0
RollId = Annotated[str, typer.Argument(metavar="ID", help="As `turnfleet region rolls` shows it.")]
Reason = Annotated[str, typer.Option(help="For whoever looks at it next.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Say what happens, and return when it has ended.")]


@command(region, "roll")
def roll(
    run: Session,
    slug: Annotated[str, typer.Argument(metavar="REGION", help="Its slug.")],
    *,
    max_unavailable: Annotated[int, typer.Option(min=1, max=1000, help="Out of service at a time, at most.")] = 1,
    reason: Reason = "",
    deadline: Annotated[
        int, typer.Option(parser=Span(least=0, most=604_800), metavar="SPAN", help="Of each node: what is left then is ended.")
    ] = 3600,
    no_force: Annotated[bool, typer.Option("--no-force", help="Let what is left at the deadline run out by itself.")] = False,
    wait: Wait = True,
    yes: Yes = False,
) -> None:
    """Restart the relays of a region one after another, without refusing anybody: for a newer coturn, for example.

    With --wait it ends with 0 when the roll has finished, 1 when it was stopped. Ctrl-C ends the waiting alone.
    """
    nodes = [each.name for each in run.client.driver.each(Fleet.nodes(region=slug))]
    if 0 < len(nodes) <= max_unavailable:
        run.confirm(f"Take all of {slug} ({', '.join(nodes)}) out of service at a time?", yes=yes)
    asked = Fleet.roll(slug, reason=reason, max_unavailable=max_unavailable, deadline_seconds=deadline, force=not no_force)
    _do(run, asked, wait=wait)


@command(region, "rolls")
def rolls(
    run: Session,
    *,
    of: Annotated[str | None, typer.Option("--region", help="Of this region.")] = None,
    state: Annotated[Literal["running", "stopped", "finished"] | None, typer.Option(help="In this state.")] = None,
    limit: Limit = 100,
) -> None:
    """Rolls, the newest first."""
    run.many(
        Fleet.rolls(region=of, state=state),
        "roll_id!0 region:1 state:1 done>1 nodes>1 failed>2 skipped>3 started_at=started:2 reason:3 stopped_because=why:1",
        limit=limit,
    )


@command(region, "roll-stop")
def roll_stop(run: Session, roll_id: RollId, *, reason: Reason = "") -> None:
    """Take no further step of a roll: nodes in the middle stay as they are. Of one that stopped by itself: it was seen."""
    run.one(Fleet.stop_roll(roll_id, reason=reason), show=_ended)


@command(region, "roll-resume")
def roll_resume(run: Session, roll_id: RollId, *, reason: Reason = "", wait: Wait = True) -> None:
    """Go on with a roll: nodes in the middle where they are, failed ones from their beginning."""
    _do(run, Fleet.resume_roll(roll_id, reason=reason), wait=wait)


def _do(run: Session, asked: Call[RollView], *, wait: bool) -> None:
    """Ask for it. With `wait` each step is said once, until the roll has ended; with --json its end alone is shown."""
    if not wait:
        run.one(asked, show=_began)
        return
    answer = run.client.driver.answer(asked)
    found = asked.read(answer)
    if not run.as_json:
        _began(found)
    said: dict[str, str] = {}
    away = Away()
    while found.state == "running":
        if not run.as_json:
            _tell(found, said)
        time.sleep(_LOOK_SECONDS)
        try:
            answer = run.client.driver.answer(Fleet.show_roll(found.roll_id))
            found = asked.read(answer)
            away.answered()
        except AWAY as error:  # the roll goes on without it
            note(away.said(error))
    if run.as_json:
        emit(answer.body)
    else:
        _tell(found, said)
        _ended(found)
    if found.state != "finished":
        raise typer.Exit(FAILED)


def _tell(found: RollView, said: dict[str, str]) -> None:
    lines = {each.name: f"{each.name}: {each.step}" + (f". {each.detail}" if each.detail else "") for each in found.steps}
    lines[""] = found.waits_for
    for name, line in lines.items():
        if line != said.get(name) and line and not line.endswith(": waiting"):
            note(clean(line))
    said |= lines


def _began(found: RollView) -> None:
    note(f"{found.region}: roll {found.roll_id} of {found.nodes} nodes, at most {found.max_unavailable} at a time.")


def _ended(found: RollView) -> None:
    counted = f"{found.done} of {found.nodes} nodes done, {found.skipped} skipped, {found.failed} failed"
    why = f" {found.stopped_because}" if found.stopped_because else ""
    note(clean(f"{found.region}: the roll is {found.state}; {counted}.{why}"))
