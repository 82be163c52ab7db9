"""Whether silence counts: when over half of the fleet falls silent at once, in several regions, the fault is the control plane's.

While silence is held it removes nobody, for ten minutes at most; then a growing share of the held nodes is let go, so that a
mode that hides deaths cannot last (Eureka's self-preservation, which has no such end, is known for fleets of dead instances).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controlplane.fleet.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """How many nodes of a region were heard in time, of the good ones that are expected."""

    expected: int
    fresh: int

    @property
    def share(self) -> float:
        return self.fresh / self.expected if self.expected else 1.0


def loss_is_ours(heard: Mapping[str, Heard], *, policy: Policy) -> bool:
    """Over half of the expected reports are missing, in two regions or more, of a fleet that is large enough to tell."""
    total = _total(heard)
    silent_regions = sum(each.share < policy.ours_below_share for each in heard.values())
    return total.expected >= policy.ours_from_nodes and total.share < policy.ours_below_share and silent_regions > 1


@dataclass(slots=True)
class Silence:
    """The state of the hold. Times are monotonic seconds."""

    policy: Policy
    blind_since: float | None = None
    """Since when this replica cannot read the others' reports."""
    lost_since: float | None = None
    """Since when most of the reports are missing."""
    _recovered_since: float | None = None

    def observe(self, heard: Mapping[str, Heard], *, now: float) -> None:
        """Begins the hold when the loss is ours, and ends it when most were heard again for a while."""
        if loss_is_ours(heard, policy=self.policy):
            self._recovered_since = None
            if self.lost_since is None:
                self.lost_since = now
        elif self.lost_since is not None:
            total = _total(heard)
            if not total.expected or total.share < self.policy.ours_over_share:
                self._recovered_since = None
            elif self._recovered_since is None:
                self._recovered_since = now
            elif now - self._recovered_since >= self.policy.ours_over_seconds:
                self.lost_since = self._recovered_since = None

    def expected_seconds(self, interval_seconds: float) -> float:
        """The age of a report up to which a node is expected.

        Before a hold only those that were there a moment ago: others died one by one. In a hold all that it may be about.
        """
        policy = self.policy
        if self.lost_since is None:
            return policy.lease_seconds(interval_seconds) + policy.ours_over_seconds
        return policy.silence_hold_seconds + 1 / policy.silence_release_per_second + policy.ours_over_seconds

    def since(self) -> float | None:
        """When the present hold began; None: silence counts."""
        return min((each for each in (self.blind_since, self.lost_since) if each is not None), default=None)

    def held_share(self, *, now: float) -> float:
        """The share of the silent nodes that is held: 1 at first, then a fifth less each minute, 0 when nothing is."""
        since = self.since()
        if since is None:
            return 0.0
        over = now - since - self.policy.silence_hold_seconds
        return 1.0 if over <= 0 else max(0.0, 1.0 - self.policy.silence_release_per_second * over)


def release_order(node_ids: list[str]) -> NDArray[np.float64]:
    """0 … 1 for each node, the same on every replica: a node is held while the held share is above it."""
    return np.array([zlib.crc32(node_id.encode()) / 2**32 for node_id in node_ids], np.float64)


def _total(heard: Mapping[str, Heard]) -> Heard:
    return Heard(expected=sum(each.expected for each in heard.values()), fresh=sum(each.fresh for each in heard.values()))
