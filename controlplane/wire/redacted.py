"""A secret that does not print."""

from __future__ import annotations

import hmac


class Redacted:
    """Text that must never reach a log, a traceback or a report.

    `str`, `repr` and formatting show `[redacted]`. `reveal()` is the only way out, so that a search for it finds every place
    where a secret leaves. Comparison takes the same time whatever differs.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Redacted):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A redacted secret is not serialised: reveal() it where it has to leave.")
