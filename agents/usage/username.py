"""The credential behind a TURN user name. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_EXPIRY = r"[0-9]{1,11}"
_EXPIRY_FIRST = re.compile(rf"({_EXPIRY}):({_ID})", re.ASCII)
_ID_FIRST = re.compile(rf"({_ID}):({_EXPIRY})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credential:
    id: str
    expires_at: float
    """Unix seconds."""


def credential(username: str) -> Credential | None:
    """Of `<expiry>:<id>`, and of `<id>:<expiry>`, which coturn takes as well. None: it is none of the control plane's."""
    if found := _EXPIRY_FIRST.fullmatch(username):
        return Credential(found[2], float(found[1]))
    if found := _ID_FIRST.fullmatch(username):
        return Credential(found[1], float(found[2]))
    return None
