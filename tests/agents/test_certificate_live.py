"""Certificates of a whole agent with a real coturn: what is offered, and a renewal under live calls."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from agents.settings import AgentSettings
from controlplane.turn.client import TurnClient
from tests.agents.certificates import DAY, MIDDLE, NOW, Files, Issued, issue, make_files
from tests.agents.control_plane import ControlPlane, control_plane
from tests.agents.places import LOOPBACK, eventually, free_port, make_settings
from tests.agents.test_whole_agent import running
from tests.agents.usage_clients import Holder, echo, signed

NAME = "relay.test"
ENDED = issue(NAME, issuer=MIDDLE, ends_at=NOW - DAY / 2)


@asynccontextmanager
async def relay_with(folder: Path, own: Issued) -> AsyncIterator[tuple[ControlPlane, AgentSettings, Files]]:
    """A usable node with that certificate."""
    files = make_files(folder, own, MIDDLE)
    _let_coturn_read(files)
    async with control_plane() as plane:
        settings = replace(
            make_settings(folder, url=plane.url),
            public_host=NAME,
            tls_cert=files.certificate,
            tls_key=files.key,
            tls_port=free_port(),
            ca_file=files.authority,
        )
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            yield plane, settings, files


def _let_coturn_read(files: Files) -> None:
    if os.geteuid() == 0:
        shutil.chown(files.key, group="turnserver")
        files.key.chmod(0o640)


def offered(plane: ControlPlane) -> list[str]:
    last = plane.last
    return [one.transport for one in last.listeners] if last is not None else []


def probed(plane: ControlPlane) -> list[str]:
    last = plane.last
    return [one.transport for one in last.probe.listeners] if last is not None and last.probe is not None else []


async def served(settings: AgentSettings) -> str:
    """The certificate of a new handshake."""
    return await asyncio.to_thread(ssl.get_server_certificate, (LOOPBACK, settings.tls_port), timeout=2)


async def until_served(settings: AgentSettings, issued: Issued) -> None:
    async with asyncio.timeout(10):
        while (await served(settings)).split() != issued.pem.split():
            pass


async def test_a_live_allocation_over_tls_goes_on_while_new_handshakes_show_the_renewed_certificate(folder: Path) -> None:
    old, new = issue(NAME, issuer=MIDDLE), issue(NAME, issuer=MIDDLE)
    async with relay_with(folder, old) as (plane, settings, files), echo() as peer:
        await until_served(settings, old)
        assert plane.last is not None
        boot_id = plane.last.coturn.boot_id
        username, password = signed(Holder().username)
        client = TurnClient(username=username, password=password)
        context = ssl.create_default_context(cafile=str(files.authority))
        async with asyncio.timeout(10):
            await client.connect_tls(LOOPBACK, settings.tls_port, context=context, server_name=NAME)
            relayed = await client.allocate()
            await client.bind(peer.address)
        renewed = asyncio.Event()
        exchanged = 0

        async def call() -> None:
            nonlocal exchanged
            while not renewed.is_set():
                await client.exchange(peer.tag + exchanged.to_bytes(8, "big"))
                exchanged += 1

        calling = asyncio.create_task(call())
        await eventually(lambda: exchanged > 10, what="packets before the renewal")
        files.put(new, MIDDLE)
        await until_served(settings, new)
        before = exchanged
        await eventually(lambda: exchanged > before + 10, what="packets after the renewal")
        renewed.set()
        await calling
        await client.permit((LOOPBACK, relayed[1]))
        client.close()
        await eventually(plane.usable, what="a good probe with the new certificate")
        assert plane.last.coturn.boot_id == boot_id
        assert offered(plane) == ["udp", "tcp", "tls"]


async def test_an_ended_certificate_takes_the_tls_listener_alone_and_its_renewal_brings_it_back(folder: Path) -> None:
    async with relay_with(folder, ENDED) as (plane, _, files):
        assert offered(plane) == probed(plane) == ["udp", "tcp"]
        assert plane.last is not None
        boot_id = plane.last.coturn.boot_id
        files.put(issue(NAME, issuer=MIDDLE), MIDDLE)
        await eventually(lambda: offered(plane) == probed(plane) == ["udp", "tcp", "tls"], what="TLS on offer")
        await eventually(plane.usable, what="a usable node")
        assert plane.last.coturn.boot_id == boot_id


async def test_a_certificate_for_another_name_is_not_offered_though_coturn_serves_it(folder: Path) -> None:
    other = issue("other.test", issuer=MIDDLE)
    async with relay_with(folder, other) as (plane, settings, _):
        await until_served(settings, other)
        assert offered(plane) == probed(plane) == ["udp", "tcp"]


async def test_a_renewal_that_is_no_good_leaves_the_old_one_served_and_offered(folder: Path) -> None:
    good, wrong = issue(NAME, issuer=MIDDLE), issue("other.test", issuer=MIDDLE)
    async with relay_with(folder, good) as (plane, settings, files):
        await until_served(settings, good)
        files.put(wrong, MIDDLE)
        assert plane.last is not None
        count = len(plane.beats)
        await eventually(lambda: len(plane.beats) > count + 4, what="some looks at the files")
        await until_served(settings, good)
        assert offered(plane) == ["udp", "tcp", "tls"]
        assert plane.usable()
