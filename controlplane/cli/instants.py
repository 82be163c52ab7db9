"""Points in time as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

_AGO = re.compile(r"(\d{1,6})(min|h|d|w)")
_SPAN = re.compile(r"(\d{1,6})(s|min|h|d|w|)")
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_RULE = "a time such as 2026-11-22, 2026-11-22T14:30, 2026-11-22T14:30:00Z, or so long before now: 30min, 12h, 7d, 2w"


def parse_instant(text: str, *, ahead: bool = False) -> datetime:
    """Without a zone it is meant in this machine's. `ahead`: 7d means in seven days. Raises typer.BadParameter."""
    span = _AGO.fullmatch(text)
    try:
        if span is not None:
            distance = timedelta(**{_UNITS[span[2]]: int(span[1])})
            return datetime.now(UTC) + (distance if ahead else -distance)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(f"{text!r} is not {_RULE.replace('before now', 'from now') if ahead else _RULE}.") from None


class Span:
    """A parser of `90s`, `30min`, `12h`, `7d`, `2w`, or plain seconds: whole seconds between two bounds."""

    def __init__(self, *, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.__name__ = "span"

    def __call__(self, text: str | int) -> int:
        """Raises typer.BadParameter."""
        found = _SPAN.fullmatch(str(text))
        seconds = int(found[1]) * _SECONDS[found[2]] if found is not None else -1
        if not self._least <= seconds <= self._most:
            raise typer.BadParameter(
                f"{text!r} is not a span such as 90s, 30min, 12h or 7d between {self._least} and {self._most} seconds."
            )
        return seconds


def _past(text: str) -> datetime:
    return parse_instant(text)


def _future(text: str) -> datetime:
    return parse_instant(text, ahead=True)


Since = Annotated[
    datetime | None, typer.Option(parser=_past, metavar="TIME", help="From this time on: 2026-11-22, or 12h, 7d ago.")
]
Until = Annotated[datetime | None, typer.Option(parser=_past, metavar="TIME", help="Before this time.")]
Expires = Annotated[
    datetime | None,
    typer.Option(parser=_future, metavar="TIME", help="When it ends: 2026-11-22, or 12h, 7d from now. Not given: never."),
]
