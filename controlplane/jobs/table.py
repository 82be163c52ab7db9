"""Every job: what, how often, which flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fold_usage import UsageFolder
from controlplane.flows.keep_history import TICK_SECONDS, HistoryKeeper
from controlplane.flows.keep_master_keys import WebhookSealer
from controlplane.flows.learn_conversion import LEARN_SECONDS, ConversionLearner
from controlplane.flows.node_tokens import TokenAger
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.quotas import PERIOD_SECONDS, QuotaKeeper
from controlplane.flows.retention import Retention
from controlplane.flows.revoke import RevocationKeeper
from controlplane.flows.roll_region import RollKeeper
from controlplane.flows.rotate_secrets import SecretRotator
from controlplane.flows.send_webhooks import WebhookSender
from controlplane.flows.sweep import Sweeper
from controlplane.jobs.leader import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the jobs of one term."""

    sweeper: Sweeper
    usage: UsageFolder
    revocations: RevocationKeeper
    drains: DrainKeeper
    rotator: SecretRotator
    rolls: RollKeeper
    outside: FleetProber | None
    """None: nodes are not tried from outside."""
    tokens: TokenAger
    history: HistoryKeeper
    sealer: WebhookSealer
    quotas: QuotaKeeper
    conversion: ConversionLearner
    retention: Retention
    webhooks: WebhookSender
    tidy_live_state: Callable[[], Awaitable[object]]
    ensure_partitions: Callable[[], Awaitable[object]]


def jobs_of_term(workers: Workers) -> list[Job]:
    """The jobs of one leader's term."""
    table: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
        ("sweep", 1.0, workers.sweeper.sweep),
        ("fold_usage", 1.0, workers.usage.fold),
        ("revocations", 1.0, workers.revocations.enforce),
        ("tidy_revocations", 30.0, workers.revocations.tidy),
        ("drains", 1.0, workers.drains.advance),
        ("rotation", 1.0, workers.rotator.advance),
        ("rolls", 1.0, workers.rolls.advance),
        ("history", TICK_SECONDS, workers.history.tick),
        ("node_tokens", 10.0, workers.tokens.advance),
        ("tidy_live_state", 60.0, workers.tidy_live_state),
        ("seal_webhooks", 10.0, workers.sealer.seal),
        ("quotas", PERIOD_SECONDS, workers.quotas.enforce),
        ("learn_conversion", LEARN_SECONDS, workers.conversion.learn),
        ("partitions", 3600.0, workers.ensure_partitions),
        ("retention", 600.0, workers.retention.run),
        ("tidy_webhooks", 60.0, workers.webhooks.tidy),
    ]
    outside, webhooks = workers.outside, workers.webhooks
    return [
        *(Job(name=name, every_seconds=seconds, run=run) for name, seconds, run in table),
        *([] if outside is None else [Job(name="outside_probes", every_seconds=1.0, run=outside.tick, end=outside.end)]),
        # Often: it is what a delivery waits for. Couriers go on between its runs.
        Job(name="webhooks", every_seconds=0.25, run=webhooks.tick, end=webhooks.end),
    ]
