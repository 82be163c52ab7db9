"""Cursors: where a page ended, as opaque text. A list in a stable order goes on after that place, whatever was added meanwhile."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from controlplane.api.problems import ProblemError
from controlplane.wire.problem import FieldError

PAGE_DEFAULT = 100
PAGE_MAX = 500

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")


def encode_cursor(key: object) -> str:
    """`key` is a tuple of what the list is ordered by: texts, numbers, instants, UUIDs."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str, kind: type[_Key]) -> _Key | None:
    """The key of that type; None for an empty cursor. Raises ProblemError fields_invalid for one that we did not make."""
    if not cursor:
        return None
    try:
        data = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=kind)
    except (UnicodeError, binascii.Error, msgspec.MsgspecError):
        message = "is none that this list gave out"
        raise ProblemError("fields_invalid", f"cursor {message}.", errors=[FieldError(field="cursor", message=message)]) from None


def page_of(
    rows: Sequence[_Item], *, limit: int, key: Callable[[_Item], object], resume: object = None
) -> tuple[Sequence[_Item], str | None]:
    """(the page, the next cursor) of `limit + 1` rows that were asked for: the one too many tells that there is more.

    `resume` is the key after which a search goes on that ended before the page was full.
    """
    if len(rows) <= limit:
        return rows, None if resume is None else encode_cursor(resume)
    page = rows[:limit]
    return page, encode_cursor(key(page[-1]))
