"""One rate limit as one replica sees it: tokens leased ahead of its requests, and a little credit.

All replicas draw on one shared bucket per limit, kept in Redis. Each leases as many tokens as its requests will probably
need. What it grants beyond its lease it owes, and pays at the next exchange: so every grant is counted once, and all
replicas together grant what the one bucket gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BURST_SECONDS = 0.5
"""How much of the limit an idle bucket saves up. A client that starts at full speed gets 105 % of its limit in ten seconds."""
ALONE_AFTER_SECONDS = 0.3
"""Three exchanges missed: the replica then lives on its own share of the limit."""
_HEADROOM = 1.25
_DEMAND_KEPT = 0.8
"""Of the demand, from one exchange to the next (0.1 s): a lease follows a growing demand at once and a falling one in a second."""
_IDLE_BELOW = 0.05
"""Requests per exchange: 1.3 seconds after the last of few requests nothing is leased any more."""


def burst_of(limit: int) -> float:
    """The most that a bucket holds, in tokens, for a limit per second."""
    return max(1.0, limit * BURST_SECONDS)


@dataclass(slots=True)
class LeasedBucket:
    """Mutable; owned by one event loop. `now` is in seconds of any one clock that never jumps."""

    limit: int
    """Requests per second over all replicas."""
    replicas: int
    settled_at: float
    leased: int = 0
    owed: int = 0
    level: float = field(init=False)
    """Of the shared bucket at `settled_at`, without what is leased; below zero while replicas owed more than there was."""
    _credit: float = field(init=False)
    _grown_at: float = field(init=False)
    _requests: int = 0
    _demand: float = 0.0

    def __post_init__(self) -> None:
        self.level = burst_of(self.limit)
        self.wake(self.settled_at)

    @property
    def idle(self) -> bool:
        """Nothing was asked for a while, and nothing is left to exchange."""
        return not (self._requests or self._demand or self.leased or self.owed)

    def take(self, now: float) -> bool:
        """Whether one more request may pass; counted."""
        self._requests += 1
        if self.leased > 0:
            self.leased -= 1
            return True
        if now > self._grown_at:
            share = self.limit / self.replicas
            self._credit = min(self._share_burst(), self._credit + (now - self._grown_at) * share)
            self._grown_at = now
        if self._credit >= 1:
            self._credit -= 1
            self.owed += 1
            return True
        return False

    def change_limit(self, limit: int) -> None:
        """What was saved up under a higher limit is not granted under a lower one."""
        burst = burst_of(limit)
        self.limit = limit
        self.leased = min(self.leased, int(burst))
        self.level = min(self.level, burst)
        self._credit = min(self._credit, self._share_burst())

    def wake(self, now: float) -> None:
        """After an idle time, in which nothing was exchanged: the level is what it must be by now."""
        level = min(burst_of(self.limit), self.level + (now - self.settled_at) * self.limit)
        self._settle(level, self.replicas, now)

    def ask(self) -> tuple[int, int]:
        """(tokens owed, tokens to lease; below zero: given back) for the next exchange, which must be made now."""
        self._demand = max(float(self._requests), self._demand * _DEMAND_KEPT)
        self._requests = 0
        if self._demand < _IDLE_BELOW:
            self._demand = 0.0
        target = min(int(burst_of(self.limit)), math.ceil(self._demand * _HEADROOM))
        want = target - self.leased
        self.leased = min(self.leased, target)
        # What a replica granted alone was its own share: no more of it is owed than the shared bucket can have saved up.
        self.owed = min(self.owed, math.ceil(self._share_burst()))
        return self.owed, want

    def settle(self, *, owed: int, granted: int, level: float, replicas: int, now: float) -> None:
        """What the exchange gave: `owed` is paid, `granted` is leased."""
        self.owed -= owed
        self.leased += granted
        self._settle(level, replicas, now)

    def _settle(self, level: float, replicas: int, now: float) -> None:
        self.level, self.replicas, self.settled_at = level, replicas, now
        # Never less than one where there is one, or a small limit over many replicas would refuse the first request.
        self._credit = max(1.0, level / replicas) if level >= 1 else 0.0
        self._grown_at = now + ALONE_AFTER_SECONDS

    def _share_burst(self) -> float:
        return max(1.0, burst_of(self.limit) / self.replicas)

    @property
    def remaining(self) -> int:
        """Requests that would pass at once, as far as this replica knows."""
        return max(0, min(self.limit, self.leased + int(max(self.level - self.owed, self._credit))))

    @property
    def wait_seconds(self) -> int:
        """Until there is a token again, in whole seconds; at least 1."""
        return max(1, math.ceil((1.0 - self.level + self.owed) / self.limit))
