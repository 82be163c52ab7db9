"""--watch: the same again every two seconds, in its place on a terminal, one under the other elsewhere, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from controlplane.cli.session import Session
from controlplane.cli.tables import picture
from controlplane.cli.words import clean, say_instant
from controlplane.client.errors import ConnectionFailedError, RateLimitedError, TurnfleetError, UnavailableError

PERIOD_SECONDS = 2.0
AWAY = (ConnectionFailedError, UnavailableError, RateLimitedError)
"""What a restart of the API looks like from here."""

Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it again every 2 seconds, until Ctrl-C.")]


def show(run: Session, draw: Callable[[], object], *, watch: bool) -> None:
    """`draw` asks the API and shows its answer: once, or again and again."""
    if not watch:
        draw()
        return
    run.attempts = 1  # the next look is the next try
    try:
        if run.as_json or not sys.stdout.isatty():
            _again(draw)
        else:
            _in_place(draw)
    except KeyboardInterrupt:
        return


def _again(draw: Callable[[], object]) -> None:
    away = Away()
    while True:
        try:
            draw()
            away.answered()
        except AWAY as error:
            typer.echo(away.said(error), err=True)
        sys.stdout.flush()  # somebody waits for it, also behind a pipe
        time.sleep(PERIOD_SECONDS)


def _in_place(draw: Callable[[], object]) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    away, shown = Away(), Group(Text("Asking …"))
    with Live(shown, console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                with picture() as drawn:
                    draw()
                shown = Group(*drawn)
                away.answered()
                live.update(shown, refresh=True)
            except AWAY as error:
                live.update(Group(Text(away.said(error), style="bold red"), shown), refresh=True)
            time.sleep(PERIOD_SECONDS)


class Away:
    """Since when nobody answers."""

    def __init__(self) -> None:
        self._since: datetime | None = None

    def answered(self) -> None:
        self._since = None

    def said(self, error: TurnfleetError) -> str:
        self._since = self._since or datetime.now(UTC)
        return clean(f"Not reachable since {say_instant(self._since)}: {error}")
