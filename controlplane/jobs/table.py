"""Every job: what, how often, which flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from controlplane.flows.directory import Directory
from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.fold_usage import UsageFolder
from controlplane.flows.keep_history import TICK_SECONDS, HistoryKeeper
from controlplane.flows.keep_master_keys import WebhookSealer
from controlplane.flows.learn_conversion import LEARN_SECONDS, ConversionLearner
from controlplane.flows.node_tokens import TokenAger
from controlplane.flows.quotas import PERIOD_SECONDS, QuotaKeeper
from controlplane.flows.retention import Retention
from controlplane.flows.revoke import RevocationKeeper
from controlplane.flows.roll_region import RollKeeper
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
    history: HistoryKeeper,
    ager: TokenAger,
    directory: Directory,
    rolls: RollKeeper,
    sealer: WebhookSealer,
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
        ("history", TICK_SECONDS, history.tick),
        ("node_tokens", 10.0, ager.advance),
        ("tidy_live_state", 60.0, partial(keeper.tidy, directory)),
        ("rolls", 1.0, rolls.advance),
        ("seal_webhooks", 10.0, sealer.seal),
        ("quotas", PERIOD_SECONDS, quotas.enforce),
        ("learn_conversion", LEARN_SECONDS, conversion.learn),
        ("partitions", 3600.0, partitions),
        ("retention", 600.0, retention.run),
        ("tidy_webhooks", 60.0, webhooks.tidy),
    ]
    return [
        *(Job(name=name, every_seconds=seconds, run=run) for name, seconds, run in table),
        # Often: it is what a delivery waits for. Couriers go on between its runs.
        Job(name="webhooks", every_seconds=0.25, run=webhooks.tick, end=webhooks.end),
    ]
