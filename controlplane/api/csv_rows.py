"""Rows as CSV (RFC 4180), for spreadsheets: a cell that one would take for a formula is made plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that spreadsheets compute: OWASP, "CSV injection"."""


def neutral(value: object) -> str:
    """A cell's text. One that begins like a formula gets an apostrophe in front, which spreadsheets read as "this is text"."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if not isinstance(value, str):
        return str(value)
    return f"'{value}" if value.startswith(_FORMULA) else value


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([neutral(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


async def csv_stream(header: Sequence[str], pages: AsyncIterator[Iterable[Sequence[object]]]) -> AsyncIterator[bytes]:
    """Page by page: no more of it is in memory than one."""
    yield csv_lines([header])
    async for page in pages:
        yield csv_lines(page)
