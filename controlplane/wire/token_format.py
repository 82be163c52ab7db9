"""The shape of every bearer token: `tfp_<id><secret><checksum>`.

A prefix that secret scanners know (tfp_ project, tfo_ organization, tfx_ operator, tfn_ node, tfj_ join), an id of 12
base-62 digits for a one-row look-up, a secret of 32 (190 bits), and the CRC-32 of all before it as 6, so that a mistyped or
made-up token is refused without asking anybody.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

from controlplane.wire.redacted import Redacted

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 32
_CHECKSUM_LENGTH: Final = 6
KINDS: Final = {"tfp": "project", "tfo": "organization", "tfx": "operator", "tfn": "node", "tfj": "join"}
_PREFIXES: Final = {kind: prefix for prefix, kind in KINDS.items()}
_TOKEN_LENGTH: Final = 4 + ID_LENGTH + SECRET_LENGTH + _CHECKSUM_LENGTH
RANDOM_BYTES_NEEDED: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedToken:
    kind: str
    token_id: str
    sha256: bytes
    """Of the whole token: all that is stored. A secret of 190 bits needs no slow hash."""


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), _CHECKSUM_LENGTH)


def make_token(kind: str, randomness: bytes) -> tuple[Redacted, ParsedToken]:
    """A new token of that kind from at least RANDOM_BYTES_NEEDED random bytes, and what is stored of it.

    Raises ValueError for fewer bytes, KeyError for an unknown kind.
    """
    if len(randomness) < RANDOM_BYTES_NEEDED:
        raise ValueError(f"A token needs {RANDOM_BYTES_NEEDED} random bytes, not {len(randomness)}.")
    digits = _base62(int.from_bytes(hashlib.shake_256(randomness).digest(48), "big"), ID_LENGTH + SECRET_LENGTH)
    body = f"{_PREFIXES[kind]}_{digits}"
    token = body + _checksum(body)
    return Redacted(token), ParsedToken(kind=kind, token_id=digits[:ID_LENGTH], sha256=hashlib.sha256(token.encode()).digest())


def token_prefix(kind: str, token_id: str) -> str:
    """What a token begins with: enough to recognise it by, of no use to anybody. Raises KeyError for an unknown kind."""
    return f"{_PREFIXES[kind]}_{token_id}"


def parse_token(token: str) -> ParsedToken | None:
    """None when the text cannot be a token of ours: wrong prefix, length, characters or checksum. Never raises."""
    if len(token) != _TOKEN_LENGTH or not token.isascii() or token[3] != "_":
        return None
    kind = KINDS.get(token[:3])
    if kind is None or _checksum(token[:-_CHECKSUM_LENGTH]) != token[-_CHECKSUM_LENGTH:]:
        return None
    return ParsedToken(kind=kind, token_id=token[4 : 4 + ID_LENGTH], sha256=hashlib.sha256(token.encode()).digest())
