"""What a version of coturn can do, as far as it matters here. Pure, by version; an unknown version can do nothing.

The versions were found by running 4.6.1 and 4.17.1 and by reading the source per tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_VERSION = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?![\d.])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    signal_drain: bool
    """SIGUSR1 drains. Before that version it kills the process."""


NOTHING = Capabilities(signal_drain=False)


def parse_version(text: str | None) -> tuple[int, int, int] | None:
    """`4.6.1` out of `Coturn-4.6.1 'Gorst'`; None where there is no version."""
    found = _VERSION.search(text or "")
    if not found:
        return None
    return int(found.group(1)), int(found.group(2)), int(found.group(3) or 0)


def of_version(text: str | None) -> Capabilities:
    version = parse_version(text)
    if version is None:
        return NOTHING
    return Capabilities(signal_drain=version >= (4, 6, 3))
