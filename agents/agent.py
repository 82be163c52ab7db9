"""Puts the agent together, runs its tasks, and ends it in order: goodbye, then coturn."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Coroutine
from functools import partial

import structlog

from agents import AGENT_VERSION, host
from agents.badge import Badge
from agents.coturn import folder as coturn_folder
from agents.coturn.certificate import Certificate
from agents.coturn.command_line import CommandLine
from agents.coturn.config import Wanted
from agents.coturn.folder import Folder, Owner
from agents.coturn.restarts import Restarts
from agents.coturn.supervisor import Supervisor
from agents.coturn.turndb import TurnDatabase
from agents.disk import Disk
from agents.doctor import at_start
from agents.doctor.at_start import Examination
from agents.echo import Echo
from agents.errors import CoturnError
from agents.files import make_folder
from agents.found import Finder
from agents.identity import Identity, load_or_join
from agents.link import Link
from agents.loop import Loop
from agents.metrics import render
from agents.metrics_server import MetricsServer
from agents.metrics_values import Parts, values
from agents.node import Node
from agents.prober import Prober
from agents.settings import AgentSettings
from agents.usage.lines import log_tag
from agents.usage.room import Usage
from controlplane.wire.agent_api import CoturnState
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


async def serve(settings: AgentSettings) -> None:
    """Until SIGTERM or SIGINT. AgentError when it cannot begin."""
    stopping = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stopping.set)
    try:
        await serve_until(settings, stopping)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            running.remove_signal_handler(number)


async def serve_until(settings: AgentSettings, stopping: asyncio.Event) -> None:
    """The same, until the event is set."""
    _make_state_dir(settings)
    link = Link(origins=settings.urls, ca_file=settings.ca_file)
    settled = asyncio.Event()
    examination = asyncio.create_task(at_start.tell(settings, settled), name="examination")
    try:
        who = await _unless_stopped(load_or_join(settings, link), stopping)
        if who is not None:
            await _serve_as(who, settings, link, stopping, settled, examination)
    finally:
        examination.cancel()
        await asyncio.gather(examination, return_exceptions=True)
        await link.close()


async def _serve_as(
    who: Identity,
    settings: AgentSettings,
    link: Link,
    stopping: asyncio.Event,
    settled: asyncio.Event,
    examination: asyncio.Task[Examination],
) -> None:
    disk = Disk()
    try:
        badge = Badge(who, state_dir=settings.state_dir, disk=disk)
        await _serve_with(disk, badge, settings, link, stopping, settled, examination)
    finally:
        disk.close()


async def _serve_with(
    disk: Disk,
    badge: Badge,
    settings: AgentSettings,
    link: Link,
    stopping: asyncio.Event,
    settled: asyncio.Event,
    examination: asyncio.Task[Examination],
) -> None:
    folder = Folder(root=settings.state_dir / "coturn")
    owner = coturn_folder.find_owner(settings)
    password = coturn_folder.prepare(folder, owner)
    database = TurnDatabase(folder.database, uid=owner.uid, gid=owner.gid, disk=disk)
    await database.prepare()
    command_line = CommandLine(port=settings.cli_port, password=password)
    echo = Echo()

    def beat_now() -> None:
        loop.beat_now()

    def coturn_changed(state: CoturnState) -> None:
        prober.coturn_changed(running=state == "running")
        node.write_status()
        if state in {"dead", "running"}:
            loop.beat_now()

    def probe_turned() -> None:
        settled.set()
        node.write_status()
        loop.beat_now()

    def certificate_changed() -> None:
        # It is looked at right before a heartbeat, which tells the rest.
        prober.offer_tls(certificate.offered)
        finder.look_now()
        node.write_status()

    tag = log_tag(password)
    certificate = Certificate(settings, owner=owner, disk=disk, on_change=certificate_changed)
    supervisor = Supervisor(
        settings=settings,
        folder=folder,
        owner=owner,
        command_line=command_line,
        log_tag=tag,
        certificate=certificate,
        restarts=Restarts(settings, node_id=badge.who.node_id),
        on_change=coturn_changed,
    )
    usage = Usage(
        state_dir=settings.state_dir,
        log_file=folder.log_file,
        log_tag=tag,
        disk=disk,
        link=link,
        badge=badge,
        supervisor=supervisor,
        command_line=command_line,
        beat_now=beat_now,
    )
    prober = Prober(settings=settings, echo=echo, disk=disk, on_turn=probe_turned)
    node = Node(
        settings=settings,
        badge=badge,
        certificate=certificate,
        boot_id=secrets.token_urlsafe(12),
        database=database,
        command_line=command_line,
        supervisor=supervisor,
        prober=prober,
        usage=usage,
        wanted=partial(wanted, settings, folder, owner, password, tuple(host.addresses())),
        beat_now=beat_now,
    )
    finder = Finder(settings=settings, link=link, badge=badge, certificate=certificate, first=examination)
    loop = Loop(link=link, badge=badge, node=node)
    log.info("agent_started", version=AGENT_VERSION, node_id=badge.who.node_id, region=badge.who.region, coturn=settings.coturn)
    await _open_echo(echo, settings)
    try:
        await node.load_secrets()
        await usage.load()
        tasks = {
            "supervisor": supervisor.run(),
            "prober": prober.run(),
            "loop": loop.run(),
            "finder": finder.run(),
            **usage.tasks(),
        }
        if settings.metrics_port:
            tasks["metrics"] = _metrics(
                Parts(
                    settings=settings,
                    node=node,
                    supervisor=supervisor,
                    prober=prober,
                    usage=usage,
                    heartbeats=loop.heartbeats,
                    certificate=certificate,
                )
            ).run()
        await _run_until(stopping, tasks)
        await link.leave(badge.token, node.goodbye("the agent was told to end"))
        if settings.on_exit == "stop":
            await supervisor.stop()
        await usage.finish()
        node.write_status()
        log.info("agent_stopped", node_id=badge.who.node_id, coturn=supervisor.state)
    finally:
        echo.close()
        await usage.close()
        await command_line.close()


def wanted(
    settings: AgentSettings, folder: Folder, owner: Owner, password: Redacted, own_addresses: tuple[str, ...], realm: str
) -> Wanted:
    """What coturn's configuration is made from. `own_addresses` are those of this host."""
    return Wanted(
        realm=realm,
        listen_address=settings.listen_address,
        relay_address=settings.relay_address,
        external_address=settings.external_address,
        port=settings.port,
        tls_port=settings.tls_port,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        relay_ports=settings.relay_ports,
        relay_threads=settings.relay_threads,
        cli_port=settings.cli_port,
        cli_password=password,
        allow_loopback_peers=settings.allow_loopback_peers,
        denied_peers=settings.denied_peers,
        own_addresses=own_addresses,
        user_quota=settings.user_quota,
        total_quota=settings.allocation_quota,
        max_bytes_per_second_per_session=settings.max_bytes_per_second_per_session,
        database=folder.database,
        pid_file=folder.pid_file,
        log_file=folder.log_file,
        log_tag=log_tag(password),
        user=owner.user,
        group=owner.group,
    )


def _metrics(parts: Parts) -> MetricsServer:
    settings = parts.settings
    return MetricsServer(host=settings.metrics_host, port=settings.metrics_port, page=lambda: render(values(parts)))


async def _run_until(stopping: asyncio.Event, tasks: dict[str, Coroutine[None, None, None]]) -> None:
    """Runs them together until the event; the death of one ends all, as its error."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(work, name=name) for name, work in tasks.items()]
        await stopping.wait()
        for task in running:
            task.cancel()


async def _unless_stopped(work: Coroutine[None, None, Identity], stopping: asyncio.Event) -> Identity | None:
    """The result, or None when the agent was told to end meanwhile."""
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(work, name="join")
        waiting = group.create_task(stopping.wait(), name="stopping")
        await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        asking.cancel()
    return None if asking.cancelled() else asking.result()


async def _open_echo(echo: Echo, settings: AgentSettings) -> None:
    try:
        await echo.open(settings.relay_address, settings.echo_port)
    except OSError as error:
        raise CoturnError(
            f"The probes' echo cannot listen on {settings.relay_address} port {settings.echo_port} ({error.strerror}): "
            "the relay address must be one of this host."
        ) from None


def _make_state_dir(settings: AgentSettings) -> None:
    try:
        make_folder(settings.state_dir)
    except OSError as error:
        raise CoturnError(f"The state folder {settings.state_dir} cannot be made: {error.strerror}.") from None
