"""The user names of probes: agents know them, and count none of their allocations as a client's. Pure but for the dice."""

from __future__ import annotations

import re
import secrets

_PROBE = re.compile(r"[0-9]+:probe-[0-9a-f]{12}", re.ASCII)


def probe_id() -> str:
    """What stands behind the expiry where a credential's id would."""
    return f"probe-{secrets.token_hex(6)}"


def is_probe(username: str) -> bool:
    """Whether an allocation belongs to a probe: nobody's use of the relay but our own."""
    return _PROBE.fullmatch(username) is not None
