"""Every job: what, how often, which flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.fold_usage import UsageFolder
from controlplane.flows.learn_conversion import LEARN_SECONDS, ConversionLearner
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.quotas import PERIOD_SECONDS, QuotaKeeper
from controlplane.flows.retention import Retention
from controlplane.flows.revoke import RevocationKeeper
from controlplane.flows.rotate_secrets import SecretRotator
from controlplane.flows.send_webhooks import WebhookSender
from controlplane.flows.sweep import Sweeper
from controlplane.jobs.leader import Job
from controlplane.postgres_store.credentials import ensure_partitions
from controlplane.postgres_store.database import Database
from controlplane.telemetry.metrics import Metrics

_PARTITION_DAYS_AHEAD = 7


def jobs_of_term(
    database: Database,
    keeper: FleetKeeper,
    metrics: Metrics,
    webhooks: WebhookSender,
    revocations: RevocationKeeper,
    quotas: QuotaKeeper,
    conversion: ConversionLearner,
    retention: Retention,
    drains: DrainKeeper,
    rotator: SecretRotator,
    outside: FleetProber | None,
    epoch: int,
) -> list[Job]:
    """The jobs of one leader's term."""
    sweeper = Sweeper(database, keeper, epoch=epoch)
    usage = UsageFolder(database, metrics, epoch=epoch)

    def partitions() -> Awaitable[None]:
        return ensure_partitions(database, days=_PARTITION_DAYS_AHEAD)

    table: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
        ("sweep", 1.0, sweeper.sweep),
        ("fold_usage", 1.0, usage.fold),
        ("revocations", 1.0, revocations.enforce),
        ("tidy_revocations", 30.0, revocations.tidy),
        ("drains", 1.0, drains.advance),
        ("rotation", 1.0, rotator.advance),
        ("quotas", PERIOD_SECONDS, quotas.enforce),
        ("learn_conversion", LEARN_SECONDS, conversion.learn),
        ("partitions", 3600.0, partitions),
        ("retention", 600.0, retention.run),
        ("tidy_webhooks", 60.0, webhooks.tidy),
    ]
    probing = [] if outside is None else [Job(name="outside_probes", every_seconds=1.0, run=outside.tick, end=outside.end)]
    return [
        *probing,
        *(Job(name=name, every_seconds=seconds, run=run) for name, seconds, run in table),
        # Often: it is what a delivery waits for. Couriers go on between its runs.
        Job(name="webhooks", every_seconds=0.25, run=webhooks.tick, end=webhooks.end),
    ]
