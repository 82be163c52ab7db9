"""Options that take several words of a closed list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import typer

Word = TypeVar("Word", bound=str)


def completing(known: Sequence[str]) -> Callable[[str], list[str]]:
    """For the shell: those that begin so."""
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def chosen(given: Sequence[str], known: Sequence[Word]) -> list[Word]:
    """The words that were given, in the order of the list. Raises typer.BadParameter for one that is not in it."""
    for word in given:
        if word not in known:
            raise typer.BadParameter(f"{word!r} is none of {', '.join(known)}.")
    return [word for word in known if word in given]
