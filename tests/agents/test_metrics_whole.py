"""The metrics of a whole agent with a real coturn, as Prometheus sees them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from agents import AGENT_VERSION
from agents.metrics import METRICS
from agents.metrics_server import CONNECTION_SECONDS
from agents.settings import AgentSettings
from controlplane.wire.agent_api import Denial
from tests.agents.control_plane import control_plane
from tests.agents.places import eventually, free_port, make_settings
from tests.agents.test_whole_agent import coturns, running, status
from tests.agents.usable_relay import usable
from tests.agents.usage_clients import Holder, echo, relay_packets

Page = dict[tuple[str, ...], float]
"""Name without the prefix and values of the labels → value."""


async def scraped(settings: AgentSettings) -> Page:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        answer = await client.get(f"http://127.0.0.1:{settings.metrics_port}/metrics")
    assert answer.status_code == 200
    return {
        (sample.name.removeprefix("turnfleet_agent_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def seen(settings: AgentSettings, condition: Callable[[Page], bool], *, what: str) -> Page:
    """The first page on which the condition holds."""
    async with asyncio.timeout(15):
        while True:
            with suppress(httpx.TransportError):
                page = await scraped(settings)
                if condition(page):
                    return page
            await asyncio.sleep(0.05)
    raise AssertionError(what)


async def test_every_metric_of_a_node_that_is_well(folder: Path) -> None:
    holder = Holder()
    async with usable(folder, tls=True, metrics_port=free_port()) as (_, settings):
        client = await holder.allocated(settings)
        async with echo() as peer:
            await relay_packets(client, peer, 100)
        every = {one.name.removeprefix("turnfleet_agent_") for one in METRICS}
        await seen(settings, lambda page: {name for name, *_ in page} == every, what="every metric")
        page = await seen(settings, lambda page: page["allocations",] >= 1, what="the allocation")
        assert page["build_info", AGENT_VERSION] == page["coturn_info", "4.6.1"] == page["coturn_up",] == 1
        assert [key[2:] for key in page if key[0] == "node_info"] == [("relay-1", "eu")]
        assert [page["probe_success", each] for each in ("udp", "tcp", "tls")] == [1, 1, 1]
        assert all(0 < page["probe_duration_seconds", each] < 2 for each in ("udp", "tcp", "tls"))
        assert page["coturn_restarts_total",] == page["denied_credentials",] == 0
        assert page["allocations_limit",] == settings.allocation_capacity
        assert page["secret_versions",] == 1
        assert page["heartbeats_total", "answered"] > 0
        assert page["heartbeats_total", "refused"] == 0
        assert page["heartbeat_age_seconds",] < 5
        assert page["heartbeat_interval_seconds",] == 0.3
        assert abs(page["clock_offset_seconds",]) < 2
        assert 0 < page["memory_ratio",] < 1
        assert page["receive_bytes_total",] > 100 * 40
        assert settings.tls_cert is not None
        end = x509.load_pem_x509_certificate(settings.tls_cert.read_bytes()).not_valid_after_utc
        assert page["certificate_expiry_timestamp_seconds",] == end.timestamp()
        started = await seen(settings, lambda page: page["allocations_started_total",] == 1, what="a client's allocation")
        assert started["allocations_ended_total", "revoked"] == 0
        client.close()


async def test_a_coturn_that_dies_is_down_and_then_counted(folder: Path) -> None:
    program, found = folder / "turnserver", shutil.which("turnserver")
    assert found is not None
    program.symlink_to(found)
    async with usable(folder, metrics_port=free_port(), coturn_binary=str(program)) as (_, settings):
        before = await seen(settings, lambda page: page["coturn_up",] == 1, what="coturn")
        assert ("certificate_expiry_timestamp_seconds",) not in before
        program.unlink()
        coturns(settings)[0].kill()
        down = await seen(settings, lambda page: page["coturn_up",] == 0, what="no coturn")
        assert down["probe_success", "udp"] == 0
        assert ("probe_duration_seconds", "udp") not in down
        assert not any(key[0] == "coturn_info" for key in down)
        program.symlink_to(found)
        back = await seen(settings, lambda page: page["coturn_up",] == 1, what="coturn again")
        assert back["coturn_restarts_total",] >= 1


async def test_a_control_plane_that_does_not_answer_is_seen(folder: Path) -> None:
    holder = Holder()
    async with usable(folder, metrics_port=free_port()) as (plane, settings):
        plane.heartbeat_status = plane.usage_status = 503
        clients = [await holder.allocated(settings) for _ in range(3)]
        await seen(settings, lambda page: page["usage_waiting",] == 3, what="what waits")
        await seen(settings, lambda page: page["heartbeats_total", "unreachable"] > 0, what="a heartbeat without an answer")
        older = await seen(settings, lambda page: page["heartbeat_age_seconds",] > 2, what="an age that grows")
        assert older["coturn_up",] == 1
        plane.heartbeat_status = 401
        await seen(settings, lambda page: page["heartbeats_total", "refused"] > 0, what="a refusal")
        plane.heartbeat_status = plane.usage_status = 200
        await seen(settings, lambda page: page["heartbeat_age_seconds",] < 1, what="an answer")
        for client in clients:
            await client.release()
            client.close()
        await seen(settings, lambda page: page["usage_waiting",] == 0, what="nothing left")


async def test_what_is_denied_and_ended_is_counted(folder: Path) -> None:
    holder = Holder()
    async with usable(folder, metrics_port=free_port()) as (plane, settings):
        client = await holder.allocated(settings)
        plane.denied.append(Denial(credential_id=holder.id, expires_at=float(holder.expires_at)))
        page = await seen(settings, lambda page: page["allocations_ended_total", "revoked"] == 1, what="an end")
        assert page["denied_credentials",] == 1
        client.close()


async def test_without_the_setting_nothing_listens_and_a_taken_port_ends_nothing(folder: Path) -> None:
    async with control_plane() as plane:
        # The control plane's own port: it is taken for certain.
        settings = make_settings(folder, url=plane.url, metrics_port=int(plane.url.rpartition(":")[2]))
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            assert status(settings).coturn_state == "running"
    assert make_settings(folder).metrics_port == 0


async def test_silent_scrapers_delay_no_heartbeat(folder: Path) -> None:
    async with usable(folder, metrics_port=free_port()) as (plane, settings):
        await scraped(settings)
        writers = []
        for _ in range(100):
            with suppress(OSError):
                writers.append((await asyncio.open_connection("127.0.0.1", settings.metrics_port))[1])
        count = len(plane.beats)
        await eventually(lambda: len(plane.beats) >= count + 4, what="four heartbeats", seconds=CONNECTION_SECONDS * 0.9)
        for writer in writers:
            writer.close()
