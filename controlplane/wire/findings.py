"""One thing that was found, in words for a person who can act on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

State = Literal["ok", "warning", "wrong"]
"""warning: it works, but not as well as it could or not for long. wrong: something that was asked for does not work."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    """What was looked at; the same name may come more than once."""
    state: State
    detail: str
    remedy: str = ""
    """What to do; empty when there is nothing to do."""


def ok(name: str, detail: str) -> Finding:
    return Finding(name=name, state="ok", detail=detail)


def warning(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name=name, state="warning", detail=detail, remedy=remedy)


def wrong(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name=name, state="wrong", detail=detail, remedy=remedy)


def exit_status(found: Iterable[Finding]) -> int:
    """1 when something is wrong; warnings do not count."""
    return int(any(one.state == "wrong" for one in found))
