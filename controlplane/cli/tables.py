"""Tables that fit: first the least important columns are left out, then text is folded. An identifier is never cut."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

_GAP = 2
_SHORT = 16
"""So short a word is left out rather than broken in two."""
_WIDEST = 10_000
_LEAST = 8
"""Narrower than this, folded text is no longer read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A field of the items. The order of columns is the order on the screen; `rank` 0 is never left out."""

    field: str
    title: str
    rank: int = 1
    whole: bool = False
    """Never folded: something that people copy."""
    right: bool = False
    day: bool = False
    """Instants that begin a day of UTC: said as that day, whatever zone this machine is in."""
    zoned: bool = False
    """Instants, whose zone stands in the title."""


def columns(text: str) -> list[Column]:
    """From a short line: `id!0 room:1 bytes>2` is an id that stays whole, a room, and right-aligned bytes that are dropped first.

    A field may be titled: `last_used_at=used:2`. `at@0` is a day of UTC.
    """
    made = []
    for word in text.split():
        mark = next(mark for mark in "!:>@" if mark in word)
        names, _, rank = word.partition(mark)
        field, _, title = names.partition("=")
        made.append(
            Column(
                field=field,
                title=(title or field.removesuffix("_at")).replace("_", " "),
                rank=int(rank),
                whole=mark in "!@",
                right=mark == ">",
                day=mark == "@",
            )
        )
    return made


def terminal_width() -> int | None:
    """Columns of the terminal, or of COLUMNS; None when the output goes elsewhere, where lines may be as long as they are."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def fit(shown: Sequence[Column], natural: Sequence[int], width: int | None) -> list[tuple[int, int]]:
    """(index, width) of the columns that are shown. `natural` are the widths that nothing has to be folded for."""
    if width is None:
        return list(enumerate(natural))
    least = [
        wide if each.whole or wide <= _SHORT else min(wide, max(_LEAST, len(each.title)))
        for each, wide in zip(shown, natural, strict=True)
    ]
    kept = list(range(len(shown)))
    while sum(least[index] + _GAP for index in kept) - _GAP > width:
        droppable = [index for index in kept if shown[index].rank > 0]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: (shown[index].rank, index)))
    widths = {index: least[index] for index in kept}
    spare = width - sum(widths[index] + _GAP for index in kept) + _GAP
    for index in sorted(kept, key=lambda index: (shown[index].rank, index)):
        more = max(0, min(natural[index] - widths[index], spare))
        widths[index] += more
        spare -= more
    return [(index, widths[index]) for index in kept]


_pictures: list[list[RenderableType]] = []


def print_table(shown: Sequence[Column], rows: Sequence[Sequence[str]], *, styles: Sequence[str] = ()) -> None:
    """`styles`: one per row, such as `bold red`."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    natural = [max(cell_len(each.title), *(cell_len(row[index]) for row in rows), 1) for index, each in enumerate(shown)]
    chosen = fit(shown, natural, terminal_width())
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for index, width in chosen:
        table.add_column(
            shown[index].title.upper(), width=width, overflow="fold", justify="right" if shown[index].right else "left"
        )
    for number, row in enumerate(rows):
        table.add_row(*(Text(row[index]) for index, _ in chosen), style=styles[number] if styles else None)
    put(table, width=sum(width + _GAP for _, width in chosen))


def print_card(lines: Sequence[tuple[str, str]]) -> None:
    """Names and values under each other. Values are folded."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = max(cell_len(name) for name, _ in lines)
    values = max(cell_len(value) for _, value in lines)
    width = terminal_width()
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    table.add_column(width=names, style="bold")
    table.add_column(width=max(1, values if width is None else min(values, width - names - _GAP)), overflow="fold")
    for name, value in lines:
        table.add_row(Text(name), Text(value))
    put(table, width=names + values + 2 * _GAP if width is None else width)


def print_line(text: str, style: str = "") -> None:
    """A line of its own, folded where it must be."""
    from rich.text import Text

    put(Text(text, style=style), width=terminal_width())


def put(drawn: RenderableType, *, width: int | None) -> None:
    """On the screen, or into the picture that is being made."""
    if _pictures:
        _pictures[-1].append(drawn)
        return
    from rich.console import Console

    Console(width=_WIDEST if width is None else width, soft_wrap=width is None, highlight=False).print(drawn)


def in_picture() -> bool:
    return bool(_pictures)


@contextmanager
def picture() -> Iterator[list[RenderableType]]:
    """Inside, what would be printed is gathered instead."""
    gathered: list[RenderableType] = []
    _pictures.append(gathered)
    try:
        yield gathered
    finally:
        _pictures.remove(gathered)
