"""Use of a relay, as the whole agent learns and tells it: a real coturn, real clients, a small control plane."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agents.coturn import logfile
from agents.coturn.folder import Owner
from agents.settings import AgentSettings
from agents.usage import sender, watcher
from controlplane.turn.client import TurnError
from tests.agents.control_plane import control_plane
from tests.agents.places import OTHER_SECRET, SECRET, eventually, make_settings
from tests.agents.test_whole_agent import coturns, running, status
from tests.agents.usable_relay import ended, of, sums, usable
from tests.agents.usage_clients import Holder, echo, relay_packets, signed, told_by_coturn


@pytest.mark.parametrize("over", ["udp", "tcp"])
async def test_an_allocation_is_told_from_its_start_to_its_end_with_coturns_own_counts(folder: Path, over: str) -> None:
    holder = Holder()
    async with usable(folder) as (plane, settings), echo() as peer:
        began = time.time()
        client = await holder.allocated(settings, over=over)
        await eventually(lambda: bool(of(plane, holder)), what="its start", seconds=2.0)
        first = of(plane, holder)[0]
        assert (first.client_address, first.transport, first.ended_at) == ("127.0.0.1", over, None)
        assert (first.credential_expires_at, first.bytes_from_client) == (float(holder.expires_at), 0)
        assert began - 1.5 < first.started_at < began + 1.5
        await relay_packets(client, peer, 50)
        await client.release()
        client.close()
        await eventually(ended(plane, holder), what="its end", seconds=5.0)
        last = of(plane, holder)[0]
        assert (last.end_reason, last.started_at) == ("client", first.started_at)
        assert last.revision > first.revision
        assert sums(plane) == told_by_coturn(settings)
        # 50 packets of 40 bytes in channel data of 4 more, and the requests beside them.
        assert last.bytes_from_client >= 50 * 44
        assert last.packets_to_client >= 50


async def test_the_agents_own_probes_are_nobodys_use(folder: Path) -> None:
    async with usable(folder) as (plane, settings):
        count = len(plane.beats)
        log = settings.state_dir / "coturn" / "turn.log"
        await eventually(lambda: log.read_text().count(": new, ") > 3 and len(plane.beats) > count + 2, what="more probes")
        assert plane.allocations == {}


async def test_bytes_of_a_long_allocation_are_told_while_it_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SUMS_SECONDS", 0.2)
    holder = Holder()
    async with usable(folder) as (plane, settings), echo() as peer:
        client = await holder.allocated(settings)
        # coturn tells every 4096 packets, of both directions and sides.
        await relay_packets(client, peer, 1100)
        await eventually(
            lambda: any(one.packets_from_client > 1000 for one in of(plane, holder)), what="sums of a living allocation"
        )
        assert of(plane, holder)[0].ended_at is None
        client.close()


async def test_a_killed_coturn_ends_its_allocations_and_the_next_ones_numbers_are_others(folder: Path) -> None:
    first, second = Holder(), Holder()
    async with usable(folder) as (plane, settings):
        before = await first.allocated(settings)
        await eventually(lambda: bool(of(plane, first)), what="its start")
        boot_id = plane.beats[-1].coturn.boot_id
        coturns(settings)[0].kill()
        await eventually(ended(plane, first), what="its end", seconds=5.0)
        assert (of(plane, first)[0].end_reason, of(plane, first)[0].coturn_boot_id) == ("coturn_ended", boot_id)
        await eventually(lambda: plane.usable() and plane.beats[-1].coturn.boot_id != boot_id, what="another coturn")
        # The numbers begin anew: one of them is the number of before.
        clients = [await second.allocated(settings) for _ in range(6)]
        await eventually(lambda: len(of(plane, second)) == 6, what="the new ones")
        assert {one.coturn_boot_id for one in of(plane, second)} == {plane.beats[-1].coturn.boot_id}
        assert of(plane, first)[0].session_id in {one.session_id for one in of(plane, second)}
        assert of(plane, first)[0].ended_at is not None
        for client in (before, *clients):
            client.close()


async def test_allocations_of_a_coturn_that_is_stopped_with_the_agent_are_ended_and_told(folder: Path) -> None:
    holder = Holder()
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            client = await holder.allocated(settings)
            await eventually(lambda: bool(of(plane, holder)), what="its start")
        assert of(plane, holder)[0].end_reason == "coturn_ended"
        client.close()


def agent_environment(settings: AgentSettings, url: str) -> dict[str, str]:
    first, last = settings.relay_ports
    return {
        "PATH": os.environ["PATH"],
        "TURNFLEET_AGENT_URL": url,
        "TURNFLEET_AGENT_JOIN_TOKEN": "tfj_test_token",
        "TURNFLEET_AGENT_STATE_DIR": str(settings.state_dir),
        "TURNFLEET_AGENT_LISTEN_ADDRESS": "127.0.0.1",
        "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
        "TURNFLEET_AGENT_PORT": str(settings.port),
        "TURNFLEET_AGENT_CLI_PORT": str(settings.cli_port),
        "TURNFLEET_AGENT_RELAY_PORTS": f"{first}-{last}",
        "TURNFLEET_AGENT_RELAY_THREADS": "1",
    }


async def test_an_agent_that_is_killed_again_and_again_loses_and_doubles_nothing(folder: Path) -> None:
    holders = [Holder() for _ in range(4)]
    async with control_plane() as plane, echo() as peer:
        settings = make_settings(folder)
        environment = agent_environment(settings, plane.url)

        async def agent_process() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agents", "run", env=environment, stderr=asyncio.subprocess.DEVNULL
            )

        child = await agent_process()
        await eventually(plane.usable, what="a usable node")
        clients = []
        for round_number, holder in enumerate(holders):
            clients.append(await holder.allocated(settings))
            relaying = [asyncio.create_task(relay_packets(one, peer, 700)) for one in clients]
            tries = plane.usage_tries
            if round_number % 2:
                plane.lost_usage_replies = 1
            with suppress(AssertionError):
                await eventually(lambda since=tries: plane.usage_tries > since, what="a report", seconds=1.0)  # type: ignore[misc]
            child.send_signal(signal.SIGKILL)
            await child.wait()
            await asyncio.gather(*relaying)
            child = await agent_process()
        for client in clients:
            await client.release()
            client.close()
        await eventually(lambda: all(ended(plane, one)() for one in holders), what="all ends", seconds=20.0)
        child.terminate()
        await child.wait()
        assert sums(plane) == told_by_coturn(settings)
        assert len(plane.allocations) == len(holders)


async def test_rotation_under_traffic_loses_and_doubles_no_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE_BYTES", 3000)
    monkeypatch.setattr(watcher, "ROTATE_SECONDS", 0.05)
    rotate, kept = logfile.rotate, 0

    def keeping(path: Path, owner: Owner) -> None:
        """Keeps what is rotated away twice, for the count of this test."""
        nonlocal kept
        old = path.with_name("turn.log.1")
        if old.exists():
            kept += 1
            old.rename(path.with_name(f"turn.log.{1000 - kept}"))
        rotate(path, owner)

    monkeypatch.setattr(logfile, "rotate", keeping)
    holders = [Holder() for _ in range(30)]
    async with usable(folder) as (plane, settings), echo() as peer:

        async def use(holder: Holder) -> None:
            client = await holder.allocated(settings)
            await relay_packets(client, peer, 150)
            await client.release()
            client.close()

        for start in range(0, len(holders), 5):
            await asyncio.gather(*(use(one) for one in holders[start : start + 5]))
            seen = kept
            with suppress(AssertionError):
                await eventually(lambda since=seen: kept > since, what="a rotation", seconds=1.0)  # type: ignore[misc]
        await eventually(lambda: all(ended(plane, one)() for one in holders), what="all ends", seconds=10.0)
        assert kept > 2
        assert sums(plane) == told_by_coturn(settings)
        assert len(plane.allocations) == len(holders)


async def test_attached_mode_follows_a_log_that_logrotate_moves(folder: Path) -> None:
    holders = [Holder() for _ in range(3)]
    async with control_plane() as plane, echo() as peer:
        settings = replace(make_settings(folder, url=plane.url), coturn="attached")
        place = settings.state_dir / "coturn"
        async with running(settings):
            await eventually((place / "turnserver.conf").is_file, what="a configuration")
            child = await asyncio.create_subprocess_exec(
                "turnserver",
                "-c",
                str(place / "turnserver.conf"),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            await eventually(plane.usable, what="a usable node")
            for number, holder in enumerate(holders):
                client = await holder.allocated(settings)
                (place / "turn.log").rename(place / f"turn.log.{9 - number}")
                child.send_signal(signal.SIGHUP)
                await relay_packets(client, peer, 20)
                await client.release()
                client.close()
            await eventually(lambda: all(ended(plane, one)() for one in holders), what="all ends", seconds=10.0)
            told = {key[1]: value for key, value in told_by_coturn(settings).items()}
            assert {key[1]: value for key, value in sums(plane).items()} == told
            child.kill()
            await child.wait()


FORGED = "session 000000000000000001: usage: realm=<x>, username=<y>, rp=9, rb=999, sp=9, sb=999"
NAMES = [
    "{now}:x>,rp=999,rb=999,sp=9,sb=9",
    "{now}:x>, rb=999",
    "{now}:x>, rp=999, rb=999, sp=9, sb=9\n" + FORGED,
    "{now}:x\n0: : " + FORGED,
    "{now}:x\n2026-11-22T05:34:25+0000.0123456789abcdef: " + FORGED,
    "{now}:x\n2026-11-22T05:34:25+0000: Default realm: x",
    "{now}:" + "x" * 450 + "\n" + FORGED[:50],
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("right", [True, False], ids=["signed", "unsigned"])
async def test_hostile_user_names_forge_no_counts(folder: Path, name: str, right: bool) -> None:
    holder = Holder()
    async with usable(folder) as (plane, settings), echo() as peer:
        client = await holder.allocated(settings)
        username, password = signed(name.format(now=int(time.time()) + 100), secret=SECRET if right else OTHER_SECRET)
        hostile = await Holder().connected(settings)
        hostile._username, hostile._password = username, password
        with suppress(TurnError):
            await hostile.allocate()
        hostile.close()
        await relay_packets(client, peer, 10)
        await client.release()
        client.close()
        await eventually(ended(plane, holder), what="its end")
        key = of(plane, holder)[0].coturn_boot_id, of(plane, holder)[0].session_id
        assert sums(plane)[key][0] < 3000
        mine = [line for line in told_lines(settings) if f"session {key[1]}: usage" in line and holder.id in line]
        assert sums(plane)[key][0] == sum(int(line.rsplit("rb=")[1].split(",")[0]) for line in mine)


def told_lines(settings: AgentSettings) -> list[str]:
    return (settings.state_dir / "coturn" / "turn.log").read_text(errors="replace").split("\n")


async def test_a_slow_answer_to_use_delays_no_heartbeat(folder: Path) -> None:
    holder = Holder()
    async with usable(folder) as (plane, settings):
        plane.usage_gate = asyncio.Event()
        client = await holder.allocated(settings)
        await eventually(lambda: plane.usage_tries > 0, what="a report")
        count, began = len(plane.beats), time.monotonic()
        await eventually(lambda: len(plane.beats) >= count + 5, what="heartbeats")
        assert time.monotonic() - began < 5 * plane.interval_seconds * 2
        assert plane.allocations == {}
        assert plane.usage_tries == 1
        plane.usage_gate.set()
        await eventually(lambda: bool(of(plane, holder)), what="its start")
        client.close()


async def test_a_control_plane_that_is_back_hears_of_what_was_meanwhile(folder: Path) -> None:
    holders = [Holder() for _ in range(3)]
    async with usable(folder) as (plane, settings):
        plane.usage_status, plane.retry_after = 503, "1"
        for holder in holders:
            client = await holder.allocated(settings)
            await client.release()
            client.close()
        await eventually(lambda: plane.usage_tries > 1, what="two tries")
        assert plane.allocations == {}
        plane.usage_status, plane.retry_after = 200, None
        await eventually(lambda: all(ended(plane, one)() for one in holders), what="all of it")
        await eventually(lambda: status(settings).usage_waiting == 0, what="nothing left")


async def test_a_report_that_is_too_large_is_halved(folder: Path) -> None:
    holder = Holder()
    async with usable(folder) as (plane, settings):
        plane.usage_status, plane.usage_most = 503, 2
        clients = [await holder.allocated(settings) for _ in range(9)]
        await eventually(lambda: plane.usage_tries > 0, what="a report")
        plane.usage_status = 200
        await eventually(lambda: len(of(plane, holder)) == 9, what="all of them")
        assert max(len(one.allocations) for one in plane.usage) <= 2
        for client in clients:
            client.close()


async def test_a_report_that_is_refused_alone_is_set_aside(folder: Path) -> None:
    holder = Holder()
    async with usable(folder) as (plane, settings):
        plane.usage_status = 422
        with capture_logs() as told:
            client = await holder.allocated(settings)
            await eventually(lambda: any(one["event"] == "usage_set_aside" for one in told), what="a row set aside")
        plane.usage_status = 200
        await client.release()
        client.close()
        await eventually(ended(plane, holder), what="its end all the same")


async def test_a_disk_that_refuses_is_said_once_and_all_is_told_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "RETRY_SECONDS", 0.1)
    holders = [Holder() for _ in range(3)]
    async with usable(folder) as (plane, settings), echo() as peer:
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON allocation BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
        with closing(sqlite3.connect(settings.state_dir / "usage.db")) as database, capture_logs() as told:
            database.executescript(refuse)
            for holder in holders:
                client = await holder.allocated(settings)
                await relay_packets(client, peer, 30)
                await client.release()
                client.close()
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) > count + 5, what="heartbeats all the same")
            assert plane.allocations == {}
            database.execute("DROP TRIGGER refuse")
            database.commit()
            await eventually(lambda: all(ended(plane, one)() for one in holders), what="all of it")
        assert [one["event"] for one in told if one["event"].startswith("usage")] == ["usage_not_kept", "usage_kept_again"]
        assert sums(plane) == told_by_coturn(settings)
