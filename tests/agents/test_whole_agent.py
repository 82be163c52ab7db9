"""The whole agent: a real coturn, a small control plane, real packets."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import psutil
import pytest

from agents import agent
from agents.errors import JoinRefusedError
from agents.settings import AgentSettings
from agents.status import Status
from controlplane.wire.redacted import Redacted
from tests.agents.control_plane import TOKEN, ControlPlane, control_plane
from tests.agents.places import OTHER_SECRET, SECRET, eventually, free_port, make_settings, write_certificate
from tests.agents.relay import suspend


@asynccontextmanager
async def running(settings: AgentSettings) -> AsyncIterator[asyncio.Event]:
    stopping = asyncio.Event()
    task = asyncio.create_task(agent.serve_until(settings, stopping))
    try:
        yield stopping
    finally:
        stopping.set()
        await task


def status(settings: AgentSettings) -> Status:
    return msgspec.json.decode((settings.state_dir / "status.json").read_bytes(), type=Status)


def coturns(settings: AgentSettings) -> list[psutil.Process]:
    config = str(settings.state_dir / "coturn" / "turnserver.conf")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if config in process.cmdline():
                found.append(process)
    return found


async def test_a_new_node_joins_and_is_usable_within_two_seconds(folder: Path) -> None:
    async with control_plane() as plane:
        plane.interval_seconds = 2.0
        settings = make_settings(folder, url=plane.url, tls=True)
        began = time.monotonic()
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            assert time.monotonic() - began < 2.0
            first, last = plane.beats[0], plane.beats[-1]
            assert first.coturn.state == "stopped"
            assert first.secrets == []
            assert first.probe is None
            assert last.probe is not None
            assert [one.transport for one in last.probe.listeners] == ["udp", "tcp", "tls"]
            assert [one.host for one in last.listeners] == ["relay.test"] * 3
            assert last.coturn.version == "4.6.1"
            assert plane.authorizations[-1] == f"Bearer {TOKEN}"
            assert [beat.sequence for beat in plane.beats] == list(range(1, len(plane.beats) + 1))
            node_file = settings.state_dir / "node.json"
            assert node_file.stat().st_mode & 0o777 == 0o600
            assert status(settings).coturn_pid == coturns(settings)[0].pid
        assert [one.reason for one in plane.leaves] == ["the agent was told to end"]
        assert plane.leaves[0].sequence > plane.beats[-1].sequence
        assert coturns(settings) == []
        assert status(settings).coturn_state == "stopped"


async def test_a_coturn_death_is_reported_at_once_and_coturn_restarted(folder: Path) -> None:
    async with control_plane() as plane:
        plane.interval_seconds = 5.0
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            await eventually(lambda: time.monotonic() - plane.beat_times[-1] > 0.3, what="a quiet moment")
            boot_id = plane.beats[-1].coturn.boot_id
            count = len(plane.beats)
            killed_at = time.monotonic()
            coturns(settings)[0].kill()
            await eventually(lambda: len(plane.beats) > count, what="the bad news")
            # Far below the interval: it was sent at once.
            assert time.monotonic() - killed_at < 2.0
            dead = plane.beats[count]
            assert dead.coturn.state == "dead"
            assert dead.probe is not None
            assert not dead.probe.ok
            await eventually(plane.usable, what="a usable node again", seconds=3.0)
            assert plane.beats[-1].coturn.boot_id != boot_id
            assert len(coturns(settings)) == 1


async def test_a_hung_coturn_is_reported_as_a_bad_probe(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            hung = coturns(settings)[0]
            suspend(hung.pid)

            def bad() -> bool:
                probe = plane.beats[-1].probe
                return probe is not None and not probe.ok and probe.listeners[0].failure == "no answer within 2 s"

            await eventually(bad, what="a bad probe")
            assert plane.beats[-1].coturn.state == "running"
            hung.send_signal(signal.SIGCONT)
            await eventually(plane.usable, what="a good probe")


async def test_rotation_and_withdrawal_change_the_table_without_a_restart(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            boot_id = plane.beats[-1].coturn.boot_id
            plane.secrets = {1: SECRET.reveal(), 2: OTHER_SECRET.reveal()}
            await eventually(plane.usable, what="both versions")
            plane.secrets = {2: OTHER_SECRET.reveal()}
            await eventually(plane.usable, what="the new version alone")
            plane.intent, plane.secrets = "draining", {}
            await eventually(lambda: plane.beats[-1].secrets == [], what="no secrets")
            await eventually(lambda: plane.beats[-1].probe is None, what="nothing claimed without a secret")
            assert plane.beats[-1].coturn.state == "running"
            plane.intent, plane.secrets = "active", {3: SECRET.reveal()}
            await eventually(plane.usable, what="a usable node again")
            assert plane.beats[-1].coturn.boot_id == boot_id


async def test_nothing_changes_while_the_control_plane_is_away_and_beats_go_on_after(folder: Path) -> None:
    port = free_port()
    plane = ControlPlane()
    settings = make_settings(folder, url=f"http://127.0.0.1:{port}")
    async with AsyncExitStack() as stack:
        async with control_plane(port=port, plane=plane):
            await stack.enter_async_context(running(settings))
            await eventually(plane.usable, what="a usable node")
            pid = coturns(settings)[0].pid
        await eventually(lambda: status(settings).last_heartbeat == "unreachable", what="a lost control plane")
        assert [one.pid for one in coturns(settings)] == [pid]
        assert status(settings).probe_ok
        count = len(plane.beats)
        async with control_plane(port=port, plane=plane):
            await eventually(lambda: len(plane.beats) > count, what="a heartbeat after the return")
            assert [one.pid for one in coturns(settings)] == [pid]
    assert coturns(settings) == []


async def test_a_restarted_agent_serves_from_disk_without_a_control_plane(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
    async with running(settings):
        await eventually(lambda: status(settings).probe_ok is True, what="a good probe")
        assert status(settings).last_heartbeat_at is None


async def test_a_coturn_that_was_left_is_adopted_with_its_boot_id(folder: Path) -> None:
    async with control_plane() as plane:
        settings = replace(make_settings(folder, url=plane.url), on_exit="leave")
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
        before = coturns(settings)
        assert len(before) == 1
        boot_id, run = plane.beats[-1].coturn.boot_id, plane.beats[-1].boot_id
        async with running(replace(settings, on_exit="stop")):
            await eventually(lambda: plane.beats[-1].boot_id != run and plane.usable(), what="a usable node")
            assert [one.pid for one in coturns(settings)] == [before[0].pid]
            assert plane.beats[-1].coturn.boot_id == boot_id
        assert coturns(settings) == []


async def test_a_lost_join_reply_is_asked_for_again_with_the_same_nonce(folder: Path) -> None:
    async with control_plane() as plane:
        plane.lost_joins = 2
        async with running(make_settings(folder, url=plane.url)):
            await eventually(lambda: len(plane.beats) > 0, what="a heartbeat")
    assert len(plane.joins) == 3
    assert len({one.join_nonce for one in plane.joins}) == 1


async def test_a_refused_join_ends_the_agent_with_a_sentence(folder: Path) -> None:
    async with control_plane() as plane:
        plane.join_status = 401
        with pytest.raises(ExceptionGroup) as caught:
            await agent.serve_until(make_settings(folder, url=plane.url), asyncio.Event())
    error = caught.value.exceptions[0]
    assert isinstance(error, JoinRefusedError)
    assert "status 401: spent" in str(error)
    assert "tfj_test_token" not in str(error)


async def test_a_new_realm_moves_the_secrets_and_restarts_coturn(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            boot_id = plane.beats[-1].coturn.boot_id
            plane.realm = "other.example"
            await eventually(lambda: plane.usable() and plane.beats[-1].coturn.boot_id != boot_id, what="a new coturn")
            assert len(coturns(settings)) == 1
            assert status(settings).realm == "other.example"


async def test_news_are_held_to_one_heartbeat_per_gap(folder: Path) -> None:
    async with control_plane() as plane:
        plane.interval_seconds = 2.0
        async with running(make_settings(folder, url=plane.url)):
            await eventually(plane.usable, what="a usable node")
    gaps = [later - sooner for sooner, later in zip(plane.beat_times, plane.beat_times[1:], strict=False)]
    assert min(gaps) > 0.19


async def test_a_refused_heartbeat_changes_nothing_on_the_relay(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            pid = status(settings).coturn_pid
            plane.heartbeat_status = 401
            await eventually(lambda: status(settings).last_heartbeat == "refused", what="a refusal")
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) > count + 1, what="two more heartbeats")
            assert status(settings).coturn_pid == pid
            assert status(settings).probe_ok


async def test_a_plan_that_fails_is_tried_again_with_the_next_reply(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            with closing(sqlite3.connect(settings.state_dir / "coturn" / "db" / "turndb")) as database:
                database.executescript(
                    "CREATE TRIGGER refuse BEFORE INSERT ON turn_secret BEGIN SELECT RAISE(FAIL, 'refused'); END"
                )
                plane.secrets = {2: OTHER_SECRET.reveal()}
                count = len(plane.beats)
                await eventually(lambda: len(plane.beats) > count + 2, what="further heartbeats")
                assert [one.version for one in plane.beats[-1].secrets] == [1]
                database.execute("DROP TRIGGER refuse")
                database.commit()
            await eventually(plane.usable, what="the new version")


async def test_a_renewed_certificate_is_served_without_a_restart(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, tls=True)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            boot_id = plane.beats[-1].coturn.boot_id
            # Its first look at the files is behind us then.
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) > count + 1, what="two more heartbeats")
            write_certificate(folder, name="relay.test")
            assert settings.tls_cert is not None
            renewed = settings.tls_cert.read_text()

            served = ""
            deadline = time.monotonic() + 10
            while served.split() != renewed.split():
                assert time.monotonic() < deadline, "the old certificate is still served"
                served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", settings.tls_port), timeout=2)
            await eventually(plane.usable, what="a good probe with the new certificate")
            assert plane.beats[-1].coturn.boot_id == boot_id


async def test_a_control_plane_that_asks_for_quiet_gets_it(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            plane.heartbeat_status, plane.retry_after = 429, "1"
            await eventually(lambda: status(settings).last_heartbeat == "unreachable", what="a first 429")
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) >= count + 2, what="two more heartbeats")
            gaps = [later - before for before, later in pairwise(plane.beat_times[count - 1 :])]
            assert min(gaps) >= 1.0


async def test_attached_mode_watches_a_coturn_that_it_does_not_start(folder: Path) -> None:
    async with control_plane() as plane:
        settings = replace(make_settings(folder, url=plane.url), coturn="attached")
        config = settings.state_dir / "coturn" / "turnserver.conf"
        async with running(settings):
            await eventually(config.is_file, what="a configuration")
            assert coturns(settings) == []
            child = await asyncio.create_subprocess_exec(
                "turnserver", "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await eventually(plane.usable, what="a usable node")
            boot_id = plane.beats[-1].coturn.boot_id
            child.kill()
            await child.wait()
            await eventually(lambda: plane.beats[-1].coturn.state == "dead", what="the bad news")
            assert plane.beats[-1].coturn.boot_id == boot_id
        assert coturns(settings) == []


async def test_nothing_secret_is_logged(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with control_plane() as plane:
        settings = replace(make_settings(folder, url=plane.url), join_token=Redacted("tfj_very_secret"))
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
        password = (settings.state_dir / "coturn" / "cli-password").read_text()
    captured = capfd.readouterr()
    for secret in ("tfj_very_secret", TOKEN, SECRET.reveal(), password):
        assert secret not in captured.err + captured.out


async def test_a_state_folder_that_cannot_be_used_ends_the_program_with_one_and_a_sentence(folder: Path) -> None:
    (folder / "state").write_text("a file in the way")
    environment = {
        "PATH": os.environ["PATH"],
        "TURNFLEET_AGENT_URL": "http://127.0.0.1:9",
        "TURNFLEET_AGENT_JOIN_TOKEN": "tfj_test_token",
        "TURNFLEET_AGENT_STATE_DIR": str(folder / "state" / "below"),
        "TURNFLEET_AGENT_LISTEN_ADDRESS": "127.0.0.1",
        "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agents", "run", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, told = await child.communicate()
    assert child.returncode == 1
    assert told.startswith(b"turnfleet-agent: The state folder ")
    assert told.count(b"\n") == 1


async def test_sigterm_ends_the_program_with_zero(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder)
        environment = {
            "PATH": os.environ["PATH"],
            "TURNFLEET_AGENT_URL": plane.url,
            "TURNFLEET_AGENT_JOIN_TOKEN": "tfj_test_token",
            "TURNFLEET_AGENT_STATE_DIR": str(settings.state_dir),
            "TURNFLEET_AGENT_LISTEN_ADDRESS": "127.0.0.1",
            "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
            "TURNFLEET_AGENT_PORT": str(settings.port),
            "TURNFLEET_AGENT_CLI_PORT": str(settings.cli_port),
            "TURNFLEET_AGENT_RELAY_PORTS": "{}-{}".format(*settings.relay_ports),
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agents", "run", env=environment, stderr=asyncio.subprocess.PIPE
        )
        await eventually(plane.usable, what="a usable node")
        child.terminate()
        _, told = await child.communicate()
        assert child.returncode == 0
        assert len(plane.leaves) == 1
        assert coturns(settings) == []
        events = [msgspec.json.decode(line)["event"] for line in told.splitlines()]
        assert events[-1] == "agent_stopped"
