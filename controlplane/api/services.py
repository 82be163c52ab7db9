"""What the routes work with, put together by main and carried in the application's state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from controlplane.flows.authenticate import Authenticator
from controlplane.flows.denials import Denials
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.follow_events import EventFollower
from controlplane.flows.issue_ice import IceIssuer
from controlplane.flows.manage_webhooks import WebhookManager
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.node_tokens import NodeTokens
from controlplane.flows.probe_node import NodeProber
from controlplane.flows.quotas import QuotaWatch
from controlplane.flows.rate_limit import RateLimiter
from controlplane.flows.revoke import Revoker
from controlplane.journal.writer import JournalWriter
from controlplane.postgres_store.database import Database
from controlplane.settings import Settings
from controlplane.telemetry.metrics import Metrics

_RATE_WINDOW_SECONDS = 60


@dataclass(slots=True)
class RateMeter:
    """Events per second over the last minute, by whole seconds."""

    _buckets: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW_SECONDS + 1))

    def add(self) -> None:
        second = int(time.monotonic())
        if self._buckets and self._buckets[-1][0] == second:
            self._buckets[-1] = (second, self._buckets[-1][1] + 1)
        else:
            self._buckets.append((second, 1))

    def per_second(self) -> float:
        since = int(time.monotonic()) - _RATE_WINDOW_SECONDS
        return sum(count for second, count in self._buckets if second >= since) / _RATE_WINDOW_SECONDS


@dataclass(slots=True)
class LastOverview:
    """GET /fleet/overview as it was made last."""

    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    body: bytes = b""
    begun_at: float = float("-inf")
    """Monotonic: when its making began."""
    version: int = 0
    """The directory's at that time: what an operator has changed is seen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    settings: Settings
    database: Database
    records: Database
    """For lists of records: see postgres_store/records.py."""
    usage_database: Database
    """A pool of its own: nodes that catch up must not keep applications waiting."""
    directory: Directory
    authenticator: Authenticator
    keeper: FleetKeeper
    secrets: NodeSecrets
    node_tokens: NodeTokens
    journal: JournalWriter
    issuer: IceIssuer
    limiter: RateLimiter
    denials: Denials
    revoker: Revoker
    quotas: QuotaWatch
    prober: NodeProber
    webhooks: WebhookManager
    events: EventFollower
    metrics: Metrics
    issue_rate: RateMeter = field(default_factory=RateMeter)
    overview: LastOverview = field(default_factory=LastOverview)
