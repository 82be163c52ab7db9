"""What became of the heartbeats of this run of the agent: counted where they are sent, shown by its metrics."""

from __future__ import annotations

import time
from collections import Counter
from typing import Literal, get_args

HeartbeatOutcome = Literal["answered", "refused", "unreachable"]


class Heartbeats:
    def __init__(self) -> None:
        self.by_outcome: Counter[HeartbeatOutcome] = Counter(dict.fromkeys(get_args(HeartbeatOutcome), 0))
        self.clock_offset_seconds: float | None = None
        """This clock minus the control plane's, as of the last answered one. None before the first."""
        self._answered_at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """Since one was last answered, or since the agent began: on a clock that nobody sets."""
        return time.monotonic() - self._answered_at

    def count(self, outcome: HeartbeatOutcome) -> None:
        self.by_outcome[outcome] += 1

    def answered(self, *, sent_at: float, server_at: float, now: float) -> None:
        """All in Unix seconds. Half of the way there and back may be in the offset: it is for clocks that are off by seconds."""
        self._answered_at = time.monotonic()
        self.clock_offset_seconds = (sent_at + now) / 2 - server_at
