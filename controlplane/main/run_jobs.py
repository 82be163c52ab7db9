"""A jobs process, put together."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from controlplane import __version__
from controlplane.background import background
from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fold_usage import UsageFolder
from controlplane.flows.keep_history import HistoryKeeper
from controlplane.flows.keep_master_keys import WebhookSealer
from controlplane.flows.learn_conversion import ConversionLearner
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.node_tokens import TokenAger
from controlplane.flows.outside_room import make_room
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.probe_node import NodeProber
from controlplane.flows.quotas import QuotaKeeper
from controlplane.flows.retention import Kept, Retention
from controlplane.flows.revoke import RevocationKeeper
from controlplane.flows.roll_region import RollKeeper
from controlplane.flows.rotate_secrets import SecretRotator
from controlplane.flows.send_webhooks import WebhookSender
from controlplane.flows.share_placements import PlacementSharer
from controlplane.flows.sweep import Sweeper
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.flows.webhook_target import Targets
from controlplane.jobs.leader import Job, JobRunner
from controlplane.jobs.table import Workers, jobs_of_term
from controlplane.main.fleet_reader import FleetReader
from controlplane.main.signals import on_stop
from controlplane.postgres_store.credentials import ensure_partitions
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.leadership import Leadership
from controlplane.postgres_store.retention import retention_database
from controlplane.redis_store.conversion import ConversionStore
from controlplane.redis_store.outside import OutsideStore
from controlplane.redis_store.placements import PlacementStream
from controlplane.redis_store.quotas import ReachedQuotas
from controlplane.settings import Settings
from controlplane.telemetry.metrics import Metrics

_PARTITION_DAYS_AHEAD = 7

log = structlog.get_logger()


async def run_jobs(settings: Settings) -> None:
    """One jobs process, until SIGTERM or SIGINT."""
    keys = MasterKeys(settings.master_key, settings.master_key_previous) if settings.master_key else None
    reader = FleetReader(settings, keys)
    metrics = Metrics()
    if settings.metrics_port:
        metrics.serve(settings.metrics_host, settings.metrics_port)
    await reader.start()
    revocation_database = Database(settings.database_url, connections=2, statement_seconds=60.0)
    webhook_database = Database(settings.database_url, acquire_seconds=5.0, statement_seconds=10.0)
    reached_quotas = ReachedQuotas.connect(settings.redis_url)
    revocations = RevocationKeeper(revocation_database, reader.keeper)
    quotas = QuotaKeeper(reader.database, reached_quotas, reader.keeper)
    conversion_store = ConversionStore.connect(settings.redis_url)
    learning_database = Database(settings.database_url, connections=1, statement_seconds=10.0)
    conversion = ConversionLearner(learning_database, conversion_store)
    targets = Targets(settings.webhook_private_targets)
    webhook_secrets = WebhookSecrets(keys) if keys is not None else None

    # Of 10,000 nodes there is much to write at once, and the sweep must not wait for it.
    history_database = Database(settings.database_url, connections=1, statement_seconds=10.0)
    outside_store = OutsideStore.connect(settings.redis_url)
    prober = NodeProber(NodeSecrets(keys), ca_file=settings.relay_ca_file) if keys is not None else None
    tries_from_outside = _tries_from_outside(settings)
    if tries_from_outside:
        make_room()

    retention_store = retention_database(settings.database_url)
    kept = Kept(
        records=timedelta(days=settings.record_retention_days),
        client_addresses=timedelta(days=settings.client_address_retention_days),
        usage=timedelta(days=settings.usage_retention_days),
        audit=timedelta(days=settings.audit_retention_days),
        events=timedelta(days=settings.event_retention_days),
        history=timedelta(days=settings.history_retention_days),
    )

    def jobs_of(epoch: int) -> list[Job]:
        database, keeper, directory = reader.database, reader.keeper, reader.directory
        outside = None
        if prober is not None and tries_from_outside:
            every = settings.outside_probe_seconds
            outside = FleetProber(prober, keeper, outside_store, database, metrics, every_seconds=every, epoch=epoch)
        return jobs_of_term(
            Workers(
                sweeper=Sweeper(database, keeper, epoch=epoch),
                usage=UsageFolder(database, metrics, epoch=epoch),
                revocations=revocations,
                drains=DrainKeeper(database, keeper, directory, epoch=epoch),
                rotator=SecretRotator(database, keeper, directory, every=_every(settings.secret_rotation_days), epoch=epoch),
                rolls=RollKeeper(
                    database, keeper, directory, prober, from_outside=bool(settings.outside_probe_seconds), epoch=epoch
                ),
                outside=outside,
                tokens=TokenAger(database, directory, every=_every(settings.node_token_days), epoch=epoch),
                history=HistoryKeeper(history_database, keeper, directory, epoch=epoch),
                sealer=WebhookSealer(database, keys, webhook_secrets, epoch=epoch),
                quotas=quotas,
                conversion=conversion,
                retention=Retention(retention_store, kept),
                webhooks=WebhookSender(webhook_database, targets, webhook_secrets, metrics, epoch=epoch),
                tidy_live_state=partial(keeper.tidy, directory),
                ensure_partitions=partial(ensure_partitions, database, days=_PARTITION_DAYS_AHEAD),
            )
        )

    runner = JobRunner(Leadership(settings.database_url), jobs_of, metrics)
    stopped = asyncio.Event()
    on_stop(stopped.set)
    log.info("jobs_started", version=__version__)
    # It places nothing, and hears what the replicas do: it judges nodes by the same as they.
    sharer = PlacementSharer(PlacementStream.connect(settings.redis_url), reader.keeper.view, lambda: 1)
    async with background([*reader.loops(), sharer.run(), runner.run()]):
        await stopped.wait()
    targets.close()
    for store in (sharer, reached_quotas, conversion_store, outside_store):
        await store.close()
    for database in (retention_store, history_database, webhook_database, learning_database, revocation_database):
        await database.close()
    await reader.close()
    log.info("jobs_stopped")


def _every(days: int) -> timedelta | None:
    """None: never by itself."""
    return timedelta(days=days) if days else None


def _tries_from_outside(settings: Settings) -> bool:
    if settings.outside_probe_seconds and not settings.master_key:
        log.warning("outside_probes_off", reason="TURNFLEET_MASTER_KEY is not set for turnfleet jobs: no credential can be signed.")
    return bool(settings.outside_probe_seconds and settings.master_key)
