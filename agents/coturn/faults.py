"""What keeps clients from a TLS listener with this certificate. Pure: a pair as it was read and the time in, sentences out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from agents.coturn.pair import Pair

Kind = Literal["files", "dates", "name", "chain"]
KINDS: tuple[Kind, ...] = ("files", "dates", "name", "chain")
MOST_NAMES = 5
"""Of a certificate, in a sentence: some have a hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: Kind
    words: str


def of(pair: Pair, *, name: str, now: datetime) -> list[Fault]:
    """The worst first; empty when clients that connect to `name` will take it now."""
    if pair.unusable is not None:
        return [Fault(kind="files", words=pair.unusable)]
    own = pair.chain[0]
    found = []
    if now < own.not_before:
        found.append(Fault(kind="dates", words=f"The certificate is good from {_day(own.not_before)} on only."))
    if now >= own.not_after:
        found.append(Fault(kind="dates", words=f"The certificate ended on {_day(own.not_after)}."))
    if pair.mismatch is not None:
        found.append(Fault(kind="name", words=f"The certificate is for {names(pair)}, and clients are told {name}."))
    if pair.distrust is not None:
        words = f"Clients cannot verify the certificate up to an authority that they know ({pair.distrust.rstrip('.')})."
        found.append(Fault(kind="chain", words=words))
    return found


def names(pair: Pair) -> str:
    every = pair.chain[0].names
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return (", ".join(every[:MOST_NAMES]) or "no name at all") + more


def ends_at(pair: Pair) -> datetime | None:
    """The first end in the chain: a client asks all of it."""
    return min((one.not_after for one in pair.chain), default=None)


def misplaced(pair: Pair) -> int | None:
    """The number, from 1, of the first certificate that did not issue the one before it (RFC 8446 §4.4.2)."""
    for number, (one, issuer) in enumerate(zip(pair.chain, pair.chain[1:], strict=False), start=2):
        if one.issuer != issuer.subject:
            return number
    return None


def _day(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M UTC")
