"""An API process, put together."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

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
from controlplane.flows.authenticate import Authenticator
from controlplane.flows.denials import Denials
from controlplane.flows.follow_events import EventFollower
from controlplane.flows.issue_ice import IceIssuer
from controlplane.flows.learn_conversion import ConversionWatch
from controlplane.flows.manage_webhooks import WebhookManager
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_secrets import NodeSecrets
from controlplane.flows.node_tokens import NodeTokens
from controlplane.flows.probe_node import NodeProber
from controlplane.flows.quotas import QuotaWatch
from controlplane.flows.rate_limit import RateLimiter
from controlplane.flows.revoke import Revoker
from controlplane.flows.share_placements import PlacementSharer
from controlplane.flows.token_uses import TokenUses
from controlplane.flows.view_file import ViewFile
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.flows.webhook_target import Targets
from controlplane.geoip import DEFAULT_DATABASE, Locator
from controlplane.journal.shipping import Shipper, SinkUnavailableError
from controlplane.journal.writer import JournalWriter
from controlplane.main.fleet_reader import FleetReader
from controlplane.main.signals import on_stop
from controlplane.postgres_store.credentials import insert_credentials
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.records import records_database
from controlplane.redis_store.conversion import ConversionStore
from controlplane.redis_store.placements import PlacementStream
from controlplane.redis_store.quotas import ReachedQuotas
from controlplane.redis_store.rate_limits import RateLimits
from controlplane.settings import Settings
from controlplane.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from controlplane.telemetry.tracing import Tracing

_KEEP_ALIVE_SECONDS = 75
"""uvicorn's 5 s would close the agents' connections between two heartbeats."""
_STOP_SECONDS = 10
_SWITCH_SECONDS = 0.0005
"""How long the journal's thread waits for its turn after each write: the default of 5 ms would be most of a request's time."""
_GEOIP_RELOAD_SECONDS = 60.0
_GAUGE_SECONDS = 5.0

log = structlog.get_logger()


async def _update_gauges(services: Services, shipper: Shipper, sharer: PlacementSharer) -> None:
    """Gauges that are derived, every few seconds."""
    metrics, keeper = services.metrics, services.keeper
    loop = asyncio.get_running_loop()
    shipped = rejected = 0
    while True:
        metrics.nodes.clear()
        metrics.eligible_nodes.clear()
        metrics.region_utilisation.clear()
        metrics.rolls_stopped.clear()
        for stopped in services.directory.stopped_rolls:
            metrics.rolls_stopped.labels(stopped.region).set(1)
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


def _tracing_of(settings: Settings) -> Tracing | None:
    """Loaded only where it is wanted. Raises ModuleNotFoundError."""
    if not settings.tracing:
        return None
    from controlplane.telemetry.tracing import Tracing

    return Tracing()


class _Server(uvicorn.Server):
    """Ends the live streams first: it waits for every answer that is under way, and theirs would take minutes."""

    def __init__(self, config: uvicorn.Config, events: EventFollower) -> None:
        super().__init__(config)
        self._events = events

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._events.stop()
        await super().shutdown(sockets)


def _settle_interpreter() -> None:
    """The framework's own objects never die: not looking at them again keeps collections out of the slowest requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(_SWITCH_SECONDS)


def _server_of(services: Services, tracing: Tracing | None) -> _Server:
    return _Server(
        uvicorn.Config(
            make_app(services, around=None if tracing is None else tracing.around),
            host=services.settings.api_host,
            port=services.settings.api_port,
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
        services.events,
    )


async def serve_api(settings: Settings) -> None:
    """One API process, until SIGTERM or SIGINT. Raises GeoipFileError, OSError or ModuleNotFoundError when it cannot begin."""

    tracing = _tracing_of(settings)

    async def tenants_changed() -> None:
        await authenticator.confirm()

    keys = MasterKeys(settings.master_key, settings.master_key_previous)
    node_tokens = NodeTokens(keys)
    reader = FleetReader(settings, keys, tokens=node_tokens, tenants_changed=tenants_changed)
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
    secrets = NodeSecrets(keys)
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
        node_tokens=node_tokens,
        journal=journal,
        issuer=IceIssuer(reader.keeper, secrets, journal, locator),
        limiter=RateLimiter(RateLimits.connect(settings.redis_url)),
        denials=denials,
        revoker=Revoker(revocation_database, denials),
        quotas=QuotaWatch(ReachedQuotas.connect(settings.redis_url)),
        prober=NodeProber(secrets, ca_file=settings.relay_ca_file),
        webhooks=WebhookManager(reader.database, WebhookSecrets(keys), targets),
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
    server = _server_of(services, tracing)
    view_file.load_if_blind()
    reader.keeper.rebuild()
    # uvicorn stops at the signal by itself and then raises it once more: without a handler of ours that would be the end,
    # before the journal is shipped.
    on_stop(lambda: setattr(server, "should_exit", True))
    _settle_interpreter()
    log.info("api_started", version=__version__, host=settings.api_host, port=settings.api_port)
    if reader.directory.missing_key is not None:
        log.error("master_key_missing", reason=reader.directory.missing_key)
    loops = [
        *reader.loops(),
        uses.run(),
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
    if tracing is not None:
        await tracing.close()
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
