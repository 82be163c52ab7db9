"""TURN REST credentials (draft-uberti-behave-turn-rest-00 §2.2) as coturn's `use-auth-secret` checks them."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache

_ID = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)

MAX_EXPIRY = 2**31 - 1
"""coturn 4.6.1 compares expiries on 32 signed bits: a later one is refused, not far in the future."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credential(username={self.username!r}, password=[redacted])"


def turn_username(credential_id: str, expires_at_unix: int) -> str:
    """`<unix expiry>:<credential id>`. The id is ours (a UUID), so that no tenant data ever crosses the wire in clear text.

    Raises ValueError when the expiry is beyond what coturn can compare, or the id holds a character that it refuses.
    """
    if not 0 < expires_at_unix <= MAX_EXPIRY:
        raise ValueError("A credential must expire before 2038-01-19: coturn compares expiries on 32 bits.")
    if not _ID.fullmatch(credential_id):
        raise ValueError("A credential id is made of letters, digits, '.', '_' and '-' only.")
    return f"{expires_at_unix}:{credential_id}"


@lru_cache(maxsize=16_384)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Taking in the key is most of the work, and the same for every credential of a node."""
    return hmac.new(secret, digestmod=hashlib.sha1)


def turn_password(secret: bytes, username: str) -> str:
    """base64(HMAC-SHA1(secret, username))."""
    keyed = _keyed(secret).copy()
    keyed.update(username.encode("ascii"))
    return binascii.b2a_base64(keyed.digest(), newline=False).decode("ascii")


def sign(secret: bytes, *, credential_id: str, expires_at_unix: int) -> Credential:
    """A credential that the node holding `secret` accepts until `expires_at_unix`, that second included."""
    username = turn_username(credential_id, expires_at_unix)
    return Credential(username=username, password=turn_password(secret, username))
