"""What ends allocations that coturn would let live: denials and the rules of credentials. A real coturn, real clients."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agents.settings import AgentSettings
from agents.usage.denials import Denied
from agents.usage.spool import Spool
from controlplane.wire.agent_api import CredentialRule, Denial
from tests.agents.control_plane import control_plane
from tests.agents.places import eventually, make_settings
from tests.agents.test_whole_agent import running, status
from tests.agents.usable_relay import ended, of, usable
from tests.agents.usage_clients import Holder


async def cut_times(settings: AgentSettings, holder: Holder, count: int) -> list[float]:
    """How long each of so many allocations lived, of somebody who comes back at once. Over TCP: coturn closes it at the end."""
    lived = []
    for _ in range(count):
        client = await holder.allocated(settings, over="tcp")
        began = time.monotonic()
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                await client._received()
        lived.append(time.monotonic() - began)
        client.close()
    return lived


async def test_a_denied_credential_is_cut_each_time_with_the_control_plane_or_without(folder: Path) -> None:
    holder, other = Holder(), Holder()
    async with usable(folder) as (plane, settings):
        staying = await other.allocated(settings)
        client = await holder.allocated(settings)
        await eventually(lambda: bool(of(plane, holder)), what="its start")
        plane.denied.append(Denial(credential_id=holder.id, expires_at=float(holder.expires_at)))
        await eventually(lambda: plane.beats[-1].denied_up_to == 1, what="the acknowledgement")
        await eventually(ended(plane, holder), what="its end", seconds=3.0)
        assert of(plane, holder)[0].end_reason == "revoked"
        assert max(await cut_times(settings, holder, 4)) < 0.5
        plane.heartbeat_status = 503
        await eventually(lambda: status(settings).last_heartbeat == "unreachable", what="no control plane")
        assert max(await cut_times(settings, holder, 4)) < 0.5
        await eventually(ended(plane, holder, count=9), what="all ends")
        assert {one.end_reason for one in of(plane, holder)} == {"revoked"}
        assert [one.ended_at for one in of(plane, other)] == [None]
        client.close()
        staying.close()


async def test_a_disk_that_hangs_holds_up_neither_heartbeats_nor_denials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, answers = Holder(), Holder(), threading.Event()
    save = Spool.save_denials

    def hanging(self: Spool, up_to: int, denials: list[Denied]) -> None:
        answers.wait(30)
        save(self, up_to, denials)

    monkeypatch.setattr(Spool, "save_denials", hanging)
    async with usable(folder) as (plane, settings):
        try:
            for holder in (first, second):
                plane.denied.append(Denial(credential_id=holder.id, expires_at=float(holder.expires_at)))
                await eventually(lambda: plane.beats[-1].denied_up_to == len(plane.denied), what="the acknowledgement", seconds=5.0)
                assert max(await cut_times(settings, holder, 3)) < 0.5
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) >= count + 2, what="two more heartbeats", seconds=4.0)
        finally:
            answers.set()
        await eventually(lambda: kept(settings) == {first.id, second.id}, what="both on disk")


def kept(settings: AgentSettings) -> set[str]:
    with closing(sqlite3.connect(settings.state_dir / "usage.db")) as connection:
        return {str(row[0]) for row in connection.execute("SELECT credential_id FROM denial")}


async def test_denials_outlive_the_agent_and_numbers_that_begin_anew_are_asked_for_again(folder: Path) -> None:
    holder = Holder()
    async with control_plane() as plane:
        settings = replace(make_settings(folder, url=plane.url), on_exit="leave")
        plane.denied = [Denial(credential_id=holder.id, expires_at=float(holder.expires_at))] * 3
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            await eventually(lambda: plane.beats[-1].denied_up_to == 3, what="the acknowledgement")
        count = len(plane.beats)
        plane.heartbeat_status = 503
        async with running(replace(settings, on_exit="stop")):
            await eventually(lambda: len(plane.beats) > count, what="a heartbeat")
            assert plane.beats[count].denied_up_to == 3
            await eventually(lambda: status(settings).coturn_state == "running", what="an adopted coturn")
            assert max(await cut_times(settings, holder, 2)) < 0.5
            plane.heartbeat_status, plane.denied = 200, plane.denied[:1]
            await eventually(lambda: 0 in {one.denied_up_to for one in plane.beats[count:]}, what="a question for all")
            await eventually(lambda: plane.beats[-1].denied_up_to == 1, what="the new numbers")


async def test_rules_end_what_is_expired_and_what_is_too_many(folder: Path) -> None:
    expiring, many = Holder(expires_at=int(time.time()) + 4), Holder()
    async with control_plane() as plane:
        plane.rules = {
            expiring.id: CredentialRule(
                credential_id=expiring.id, end_at_expiry=True, max_allocations=None, max_bits_per_second=None
            ),
            many.id: CredentialRule(credential_id=many.id, end_at_expiry=False, max_allocations=2, max_bits_per_second=None),
        }
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            clients = [await expiring.allocated(settings)]
            clients += [await many.allocated(settings) for _ in range(4)]
            await eventually(ended(plane, many, count=2), what="the two newest cut", seconds=5.0)
            kept = sorted(one.session_id for one in of(plane, many) if one.ended_at is None)
            assert kept == sorted(one.session_id for one in of(plane, many))[:2]
            assert {one.end_reason for one in of(plane, many) if one.ended_at is not None} == {"quota"}
            await eventually(ended(plane, expiring), what="the expired one cut", seconds=8.0)
            assert of(plane, expiring)[0].end_reason == "expired"
            assert (of(plane, expiring)[0].ended_at or 0) >= expiring.expires_at - 1
            for client in clients:
                client.close()


async def test_the_control_plane_hears_at_once_that_a_denial_holds(folder: Path) -> None:
    async with usable(folder) as (plane, _):
        plane.interval_seconds = 2.0
        await eventually(lambda: time.monotonic() - plane.beat_times[-1] > 0.5, what="a quiet moment")
        plane.denied.append(Denial(credential_id=Holder().id, expires_at=time.time() + 60))
        await eventually(lambda: plane.beats[-1].denied_up_to == 1, what="the acknowledgement")
        first = [one.denied_up_to for one in plane.beats].index(1)
        assert plane.beat_times[first] - plane.beat_times[first - 1] < 1.0
