"""Sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5


def some_of(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
