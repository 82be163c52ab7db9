"""Known faults of coturn by version: the closed list that node views and `turnfleet doctor` flag. Pure.

Only faults that an attacker can use against a relay as the agent configures it, or that its configuration cannot close alone.
A distribution may have mended one without another version number: whoever knows that may ignore it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    advisory_id: str
    mended_in: tuple[int, int, int]
    """The first version without it."""
    effect: str


ADVISORIES = (
    # https://security-tracker.debian.org/tracker/CVE-2020-26262
    Advisory(
        advisory_id="CVE-2020-26262",
        mended_in=(4, 5, 2),
        effect="clients reach the relay host's own loopback through 0.0.0.0, [::1] or [::]",
    ),
    # https://github.com/coturn/coturn/security/advisories/GHSA-j8mm-mpf8-gvjg
    Advisory(
        advisory_id="CVE-2026-27624",
        mended_in=(4, 9, 0),
        effect="clients reach forbidden IPv4 addresses as IPv4-mapped IPv6 ones",
    ),
    # https://security-resilience.ai/cve/CVE-2026-40613.html
    Advisory(advisory_id="CVE-2026-40613", mended_in=(4, 10, 0), effect="one UDP packet crashes it on ARM64"),
)

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?")


@lru_cache(maxsize=256)
def advisories_of(version: str | None) -> tuple[Advisory, ...]:
    """The faults that a coturn of this version has. None for a version that cannot be read: nothing is known of it."""
    found = _VERSION.search(version or "")
    if found is None:
        return ()
    numbers = tuple(int(number or 0) for number in found.groups())
    return tuple(each for each in ADVISORIES if numbers < each.mended_in)
