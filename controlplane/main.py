"""The composition root: settings → stores → flows → app. The only file that knows every room."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
import uvicorn
from uuid_utils import uuid7

from controlplane import __version__
from controlplane.api.app import make_app
from controlplane.api.fleet_events import event_frame
from controlplane.api.http_protocol import EdgeProtocol
from controlplane.api.probes import readiness_of
from controlplane.api.services import Services
from controlplane.background import background
from controlplane.fleet.issue import Issue
from controlplane.fleet.policy import Policy
from controlplane.flows.authenticate import Authenticator
from controlplane.flows.denials import Denials
from controlplane.flows.directory import Directory
from controlplane.flows.drain import DrainKeeper
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.follow_events import EventFollower
from controlplane.flows.issue_ice import IceIssuer
from controlplane.flows.learn_conversion import ConversionLearner, ConversionWatch
from controlplane.flows.manage_webhooks import WebhookManager
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.outside_room import make_room
from controlplane.flows.outside_watch import OutsideWatch
from controlplane.flows.probe_fleet import FleetProber
from controlplane.flows.probe_node import NodeProber
from controlplane.flows.quotas import QuotaKeeper, QuotaWatch
from controlplane.flows.rate_limit import RateLimiter
from controlplane.flows.retention import Kept, Retention
from controlplane.flows.revoke import RevocationKeeper, Revoker
from controlplane.flows.rotate_secrets import SecretRotator
from controlplane.flows.send_webhooks import WebhookSender
from controlplane.flows.share_placements import PlacementSharer
from controlplane.flows.token_uses import TokenUses
from controlplane.flows.view_file import ViewFile
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.flows.webhook_target import Targets
from controlplane.geoip import DEFAULT_DATABASE, Locator
from controlplane.jobs.leader import Job, JobRunner
from controlplane.jobs.table import jobs_of_term
from controlplane.journal.shipping import Shipper, SinkUnavailableError
from controlplane.journal.writer import JournalWriter
from controlplane.postgres_store.credentials import insert_credentials
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.leadership import Leadership
from controlplane.postgres_store.records import records_database
from controlplane.postgres_store.retention import retention_database
from controlplane.redis_store.conversion import ConversionStore
from controlplane.redis_store.live_state import LiveState
from controlplane.redis_store.outside import OutsideStore
from controlplane.redis_store.placements import PlacementStream
from controlplane.redis_store.quotas import ReachedQuotas
from controlplane.redis_store.rate_limits import RateLimits
from controlplane.settings import Settings
from controlplane.telemetry.metrics import Metrics

_KEEP_ALIVE_SECONDS = 75
"""uvicorn's 5 s would close the agents' connections between two heartbeats."""
_STOP_SECONDS = 10
_SWITCH_SECONDS = 0.0005
"""How long the journal's thread waits for its turn after each write: the default of 5 ms would be most of a request's time."""
_GEOIP_RELOAD_SECONDS = 60.0
_GAUGE_SECONDS = 5.0

log = structlog.get_logger()


class _FleetReader:
    """What both processes need of the fleet: who is who, and what they report."""

    def __init__(self, settings: Settings, *, tenants_changed: Callable[[], Awaitable[None]] | None = None) -> None:
        self.database = Database(settings.database_url)
        # Of its own: however many wait for the others, what was changed or deleted elsewhere is in effect within a second.
        self.following = Database(settings.database_url, connections=1)
        self.live = LiveState.connect(settings.redis_url)
        self.keeper = FleetKeeper(self.live, Policy())
        self.outside = OutsideWatch(OutsideStore.connect(settings.redis_url), self.keeper.view)
        self.lookups = Database(settings.database_url, connections=2)
        self.directory = Directory(self.following, self.lookups, fleet_changed=self._fleet_changed, tenants_changed=tenants_changed)

    def _fleet_changed(self) -> None:
        self.keeper.view.set_directory(self.directory.regions, self.directory.nodes.values())
        self.keeper.rebuild()

    async def start(self) -> None:
        """One try at everything, so that a healthy start is ready at once."""
        await asyncio.gather(self.directory.refresh(), self.keeper.read_once(), self.outside.read_once())
        self.keeper.rebuild()

    async def close(self) -> None:
        await self.live.close()
        await self.outside.close()
        await self.lookups.close()
        await self.following.close()
        await self.database.close()


async def _update_gauges(services: Services, shipper: Shipper, sharer: PlacementSharer) -> None:
    """Gauges that are derived, every few seconds."""
    metrics, keeper = services.metrics, services.keeper
    loop = asyncio.get_running_loop()
    shipped = rejected = 0
    while True:
        metrics.nodes.clear()
        metrics.eligible_nodes.clear()
        metrics.region_utilisation.clear()
        for (region, health), count in keeper.view.health_counts().items():
            if count:
                metrics.nodes.labels(region, health).set(count)
        for region, count in keeper.view.eligible_counts().items():
            metrics.eligible_nodes.labels(region).set(count)
        for region, table in keeper.view.table.regions.items():
            if table.size:
                metrics.region_utilisation.labels(region).set(table.utilisation)
        if keeper.read_at is not None:
            metrics.view_age_seconds.set(loop.time() - keeper.read_at)
        metrics.view_held.set(keeper.view.table.held)
        metrics.placements_alone.set(sharer.alone)
        metrics.journal_backlog_bytes.set(services.journal.backlog_bytes)
        metrics.journal_max_bytes.set(services.journal.max_bytes)
        metrics.unready.set(not readiness_of(services).ready)
        metrics.redis_unreachable.set(not keeper.seeing)
        metrics.database_unreachable.set(services.directory.failing)
        metrics.journal_shipped.inc(shipper.shipped_records - shipped)
        metrics.journal_rejected.inc(shipper.rejected_records - rejected)
        shipped, rejected = shipper.shipped_records, shipper.rejected_records
        await asyncio.sleep(_GAUGE_SECONDS)


async def _reload_geoip(locator: Locator, metrics: Metrics) -> None:
    """Pick up a GeoIP file that was replaced."""
    while True:
        metrics.geoip_build_seconds.set(min(each.built_at.timestamp() for each in locator.describe()))
        await asyncio.sleep(_GEOIP_RELOAD_SECONDS)
        reload = await asyncio.to_thread(locator.reload_if_changed)
        for failure in reload.failures:
            log.warning("geoip_not_reloaded", reason=str(failure))
        if reload.reopened:
            log.info("geoip_reloaded", files=[str(path) for path in reload.reopened])


def _credential_sink(database: Database) -> Callable[[Sequence[Issue]], Awaitable[Sequence[Issue]]]:
    async def sink(issues: Sequence[Issue]) -> Sequence[Issue]:
        try:
            return await insert_credentials(database, issues)
        except DatabaseUnavailableError as error:
            raise SinkUnavailableError(str(error)) from error

    return sink


class _Server(uvicorn.Server):
    """Ends the live streams first: it waits for every answer that is under way, and theirs would take minutes."""

    def __init__(self, config: uvicorn.Config, events: EventFollower) -> None:
        super().__init__(config)
        self._events = events

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._events.stop()
        await super().shutdown(sockets)


async def serve_api(settings: Settings) -> None:
    """One API process, until SIGTERM or SIGINT. Raises GeoipFileError or OSError when it cannot begin."""

    async def tenants_changed() -> None:
        await authenticator.confirm()

    reader = _FleetReader(settings, tenants_changed=tenants_changed)
    uses = TokenUses(reader.database)
    authenticator = Authenticator(reader.following, reader.lookups, reader.directory, uses)
    locator = Locator(settings.geoip_db or (DEFAULT_DATABASE,))
    journal = JournalWriter(settings.state_dir / "journal" / str(uuid7()), max_bytes=settings.journal_max_bytes)
    journal.open()
    shipping_database = Database(settings.database_url, connections=1, statement_seconds=10.0)
    usage_database = Database(settings.database_url, connections=2, statement_seconds=5.0)
    revocation_database = Database(settings.database_url, connections=2)
    denials = Denials(revocation_database)
    shipper = Shipper(journal, _credential_sink(shipping_database))
    secrets = NodeSecrets(settings.master_key)
    targets = Targets(settings.webhook_private_targets)
    records = records_database(settings.database_url)
    events_database = Database(settings.database_url, connections=2)  # its reader must not wait behind requests
    events = EventFollower(events_database, event_frame)
    services = Services(
        settings=settings,
        database=reader.database,
        records=records,
        usage_database=usage_database,
        directory=reader.directory,
        authenticator=authenticator,
        keeper=reader.keeper,
        secrets=secrets,
        journal=journal,
        issuer=IceIssuer(reader.keeper, secrets, journal, locator),
        limiter=RateLimiter(RateLimits.connect(settings.redis_url)),
        denials=denials,
        revoker=Revoker(revocation_database, denials),
        quotas=QuotaWatch(ReachedQuotas.connect(settings.redis_url)),
        prober=NodeProber(secrets, ca_file=settings.relay_ca_file),
        webhooks=WebhookManager(reader.database, WebhookSecrets(settings.master_key), targets),
        events=events,
        metrics=Metrics(),
    )
    sharer = PlacementSharer(PlacementStream.connect(settings.redis_url), reader.keeper.view, lambda: services.limiter.replicas)
    view_file = ViewFile(settings.state_dir / "fleet-view", reader.keeper)
    conversion = ConversionWatch(ConversionStore.connect(settings.redis_url), reader.keeper.view)
    if settings.metrics_port:
        services.metrics.serve(settings.metrics_host, settings.metrics_port)
    await asyncio.gather(
        reader.start(), services.limiter.start(), denials.read(), services.quotas.read_once(), conversion.read_once()
    )
    server = _Server(
        uvicorn.Config(
            make_app(services),
            host=settings.api_host,
            port=settings.api_port,
            http=EdgeProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
            backlog=2048,
        ),
        events,
    )
    view_file.load_if_blind()
    reader.keeper.rebuild()
    # uvicorn stops at the signal by itself and then raises it once more: without a handler of ours that would be the end,
    # before the journal is shipped.
    _on_stop(lambda: setattr(server, "should_exit", True))
    # The framework's own objects never die: not looking at them again keeps collections out of the slowest requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(_SWITCH_SECONDS)
    log.info("api_started", version=__version__, host=settings.api_host, port=settings.api_port)
    loops = [
        reader.directory.run(),
        uses.run(),
        *reader.keeper.loops(),
        reader.outside.run(),
        *shipper.loops(),
        services.limiter.run(),
        denials.run(),
        services.quotas.run(),
        events.run(),
        sharer.run(),
        conversion.run(),
        view_file.run(),
        _update_gauges(services, shipper, sharer),
        _reload_geoip(locator, services.metrics),
    ]
    async with background(loops):
        await server.serve()
    await uses.flush()
    await journal.close()
    drained = await shipper.drain()
    journal.release(remove=drained)
    targets.close()
    log.info("api_stopped", journal_shipped=drained)
    for each in (
        services.limiter,
        services.quotas,
        sharer,
        conversion,
        revocation_database,
        usage_database,
        shipping_database,
        records,
        events_database,
        reader,
    ):
        await each.close()


async def run_jobs(settings: Settings) -> None:
    """One jobs process, until SIGTERM or SIGINT."""
    reader = _FleetReader(settings)
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
    webhook_secrets = WebhookSecrets(settings.master_key) if settings.master_key else None

    outside_store = OutsideStore.connect(settings.redis_url)
    prober = _fleet_prober(settings)

    retention_store = retention_database(settings.database_url)
    kept = Kept(
        records=timedelta(days=settings.record_retention_days),
        client_addresses=timedelta(days=settings.client_address_retention_days),
        usage=timedelta(days=settings.usage_retention_days),
        audit=timedelta(days=settings.audit_retention_days),
        events=timedelta(days=settings.event_retention_days),
    )

    def jobs_of(epoch: int) -> list[Job]:
        retention = Retention(retention_store, kept)
        webhooks = WebhookSender(webhook_database, targets, webhook_secrets, metrics, epoch=epoch)
        drains = DrainKeeper(reader.database, reader.keeper, reader.directory, epoch=epoch)
        days = settings.secret_rotation_days
        every = timedelta(days=days) if days else None
        rotator = SecretRotator(reader.database, reader.keeper, reader.directory, every=every, epoch=epoch)
        outside = None
        if prober is not None:
            seconds = settings.outside_probe_seconds
            outside = FleetProber(
                prober, reader.keeper, outside_store, reader.database, metrics, every_seconds=seconds, epoch=epoch
            )
        return jobs_of_term(
            reader.database,
            reader.keeper,
            metrics,
            webhooks,
            revocations,
            quotas,
            conversion,
            retention,
            drains,
            rotator,
            outside,
            epoch,
        )

    runner = JobRunner(Leadership(settings.database_url), jobs_of, metrics)
    stopped = asyncio.Event()
    _on_stop(stopped.set)
    log.info("jobs_started", version=__version__)
    # It places nothing, and hears what the replicas do: it judges nodes by the same as they.
    sharer = PlacementSharer(PlacementStream.connect(settings.redis_url), reader.keeper.view, lambda: 1)
    async with background([reader.directory.run(), *reader.keeper.loops(), reader.outside.run(), sharer.run(), runner.run()]):
        await stopped.wait()
    targets.close()
    for store in (sharer, reached_quotas, conversion_store, outside_store):
        await store.close()
    for database in (retention_store, webhook_database, learning_database, revocation_database):
        await database.close()
    await reader.close()
    log.info("jobs_stopped")


def _fleet_prober(settings: Settings) -> NodeProber | None:
    """None: nodes are not to be tried from outside, or cannot be."""
    if not settings.outside_probe_seconds:
        return None
    if not settings.master_key:
        log.warning("outside_probes_off", reason="TURNFLEET_MASTER_KEY is not set for turnfleet jobs: no credential can be signed.")
        return None
    make_room()
    return NodeProber(NodeSecrets(settings.master_key), ca_file=settings.relay_ca_file)


def _on_stop(stop: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
