"""The credentials that may relay nothing more on this node. Pure: what was told and the time in, what holds out.

A denial is never taken back: it ends by itself, some time after the credential's expiry, when coturn admits nobody by it any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.wire.agent_api import DenialsDelta

KEPT_AFTER_EXPIRY_SECONDS = 60.0
SHORTEST_SECONDS = 60.0
"""A denial of a credential that has expired long ago still ends its live allocations, and those that were just being made."""
MOST = 200_000
"""A guess, far above what a node's credentials can be; 50 MiB. Beyond it the one that expires first makes room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    credential_id: str
    expires_at: float
    """Unix seconds."""
    told_at: float

    @property
    def lapses_at(self) -> float:
        return max(self.expires_at + KEPT_AFTER_EXPIRY_SECONDS, self.told_at + SHORTEST_SECONDS)


@dataclass(slots=True)
class Denials:
    up_to: int = 0
    """The highest number that was taken."""
    held: dict[str, Denied] = field(default_factory=dict)
    unsaved: bool = False

    def load(self, up_to: int, found: Iterable[Denied]) -> None:
        """From disk. What was told meanwhile stays."""
        self.up_to = max(self.up_to, up_to)
        for one in found:
            self.held.setdefault(one.credential_id, one)

    def take(self, delta: DenialsDelta, *, now: float) -> bool:
        """True when this node's number is another one now. A lower one: the numbers began anew, and all are asked for again.

        What is held until then stays held: a credential that was revoked is not good again because the numbers are.
        """
        if delta.up_to < self.up_to:
            self.up_to, self.unsaved = 0, True
            return True
        for one in delta.denials:
            before = self.held.get(one.credential_id)
            expires_at = max(one.expires_at, before.expires_at if before is not None else 0.0)
            self.held[one.credential_id] = Denied(credential_id=one.credential_id, expires_at=expires_at, told_at=now)
        while len(self.held) > MOST:
            del self.held[min(self.held.values(), key=lambda one: one.expires_at).credential_id]
        changed = delta.up_to != self.up_to or bool(delta.denials)
        self.up_to, self.unsaved = delta.up_to, self.unsaved or changed
        return changed

    def lapse(self, now: float) -> None:
        over = [one.credential_id for one in self.held.values() if one.lapses_at < now]
        for credential_id in over:
            del self.held[credential_id]
        self.unsaved = self.unsaved or bool(over)
