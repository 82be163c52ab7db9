"""How fast an allocation relays, from totals that come now and then. Pure.

coturn tells totals every 4096 packets, which may be tens of seconds: a rate is what came between two such tellings, and the
time between them, never over less than SHORTEST_SECONDS.
"""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST_SECONDS = 10.0
"""A burst is not a rate: what a quota judges is measured over at least this."""
STAMP_SECONDS = 1.0
"""coturn's log tells whole seconds: a span between two of its lines may be longer by this, and is taken to be, so that no rate
is ever found too high."""


@dataclass(slots=True)
class Meter:
    since: float | None
    """When the window began; None: not known, it begins with the next telling."""
    from_bytes: int = 0
    windows: int = 0
    """How many were measured."""
    ended: float = 0.0
    seconds: float = 0.0
    window_bytes: int = 0

    def add(self, total_bytes: int, *, at: float) -> None:
        if self.since is None or at < self.since:
            self.since, self.from_bytes = at, total_bytes
            return
        if at - self.since >= SHORTEST_SECONDS:
            self.seconds = at - self.since + STAMP_SECONDS
            self.window_bytes = total_bytes - self.from_bytes
            self.windows += 1
            self.ended = self.since = at
            self.from_bytes = total_bytes

    def bits_per_second(self, now: float) -> float:
        """Of the last window; once that is longer ago than it lasted, what it held is spread over the time since."""
        if not self.windows:
            return 0.0
        return 8 * self.window_bytes / max(self.seconds, now - self.ended)
