"""The way to the control plane, and the node's identity."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agents import identity
from agents.errors import IdentityError, JoinRefusedError, SettingsError
from agents.identity import Identity
from agents.link import Answered, Link, Refused, Unreachable
from controlplane.wire.agent_api import Capacity, Coturn, Heartbeat, LeaveRequest, Load
from controlplane.wire.redacted import Redacted
from tests.agents.control_plane import TOKEN, control_plane
from tests.agents.places import free_port, make_settings
from tests.client.scripted_server import scripted

LOAD = Load(
    receive_bits_per_second=0,
    transmit_bits_per_second=0,
    receive_packets_per_second=0,
    transmit_packets_per_second=0,
    allocations=0,
    cpu_ratio=0,
    memory_ratio=0,
    open_files=0,
    open_files_limit=0,
)


class Reports:
    def __init__(self) -> None:
        self.count = 0

    def build(self) -> Heartbeat:
        self.count += 1
        return Heartbeat(
            boot_id="boot-of-agent",
            sequence=self.count,
            sent_at=float(self.count),
            coturn=Coturn(state="stopped"),
            load=LOAD,
            capacity=Capacity(bits_per_second=1e9, allocations=10, source="assumed"),
            listeners=[],
            secrets=[],
        )


@asynccontextmanager
async def linked(*origins: str) -> AsyncIterator[Link]:
    link = Link(origins=origins, ca_file=None)
    try:
        yield link
    finally:
        await link.close()


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_a_retry_goes_to_the_next_origin_as_a_new_report_and_stays_there() -> None:
    reports = Reports()
    async with control_plane() as plane, linked(nowhere(), plane.url) as link:
        assert isinstance(await link.heartbeat(Redacted(TOKEN), reports.build), Answered)
        assert isinstance(await link.heartbeat(Redacted(TOKEN), reports.build), Answered)
        assert [beat.sequence for beat in plane.beats] == [2, 3]
        assert plane.beats[0].sent_at == 2.0


async def test_there_is_exactly_one_retry() -> None:
    reports = Reports()
    async with linked(nowhere(), nowhere(), nowhere()) as link:
        outcome = await link.heartbeat(Redacted(TOKEN), reports.build)
    assert isinstance(outcome, Unreachable)
    assert reports.count == 2


@pytest.mark.parametrize(("status", "tries_with_another"), [(429, 1), (500, 2), (503, 2)])
async def test_a_server_in_trouble_is_not_asked_at_once_again_but_another_one_is(status: int, tries_with_another: int) -> None:
    async with control_plane() as plane, control_plane() as other:
        plane.heartbeat_status = status
        async with linked(plane.url) as link:
            reports = Reports()
            assert isinstance(await link.heartbeat(Redacted(TOKEN), reports.build), Unreachable)
            assert reports.count == 1
        async with linked(plane.url, other.url) as link:
            reports = Reports()
            await link.heartbeat(Redacted(TOKEN), reports.build)
            assert reports.count == tries_with_another
            assert len(other.beats) == tries_with_another - 1


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("soon", None), ("-1", None), (None, None)])
async def test_what_a_server_asks_for_is_told(text: str | None, seconds: float | None) -> None:
    async with control_plane() as plane, linked(plane.url) as link:
        plane.heartbeat_status, plane.retry_after = 429, text
        outcome = await link.heartbeat(Redacted(TOKEN), Reports().build)
    assert isinstance(outcome, Unreachable)
    assert outcome.retry_after_seconds == seconds


async def test_a_refusal_is_not_retried() -> None:
    async with control_plane() as plane, linked(plane.url) as link:
        plane.heartbeat_status = 401
        reports = Reports()
        outcome = await link.heartbeat(Redacted(TOKEN), reports.build)
        assert outcome == Refused(status=401, reason="")
        assert reports.count == 1


async def test_a_connection_that_the_server_closed_meanwhile_costs_one_try() -> None:
    async with control_plane() as plane, linked(plane.url) as link:
        assert isinstance(await link.heartbeat(Redacted(TOKEN), Reports().build), Answered)
        plane.drop_connections()
        assert isinstance(await link.heartbeat(Redacted(TOKEN), Reports().build), Answered)


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("body", [b'{"realm":"\xfc","title":"\xfc"}', b'{"x":' + b"[" * 100_000, b"\xff", b""], ids=range(4))
async def test_an_answer_of_odd_bytes_is_an_outcome(status: int, body: bytes) -> None:
    """As of a proxy that stands between, in an encoding of its own."""
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with scripted(head + body) as server, linked(server.url) as link:
        outcome = await link.heartbeat(Redacted(TOKEN), Reports().build)
    assert isinstance(outcome, Refused if status == 403 else Unreachable)


async def test_a_goodbye_to_nobody_is_an_outcome() -> None:
    async with linked(nowhere()) as link:
        outcome = await link.leave(Redacted(TOKEN), LeaveRequest(boot_id="boot-of-agent", sequence=1))
    assert isinstance(outcome, Unreachable)
    assert TOKEN not in repr(outcome)


async def test_the_identity_is_kept_for_its_owner_alone(folder: Path) -> None:
    async with control_plane() as plane, linked(plane.url) as link:
        settings = make_settings(folder, url=plane.url)
        joined = await identity.load_or_join(settings, link)
        assert joined == Identity(node_id="node-1", token=Redacted(TOKEN), region="eu", realm="test.example")
        path = settings.state_dir / "node.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await identity.load_or_join(settings, link) == joined
        assert len(plane.joins) == 1
        assert [one.name for one in settings.state_dir.iterdir()] == ["node.json"]
        assert TOKEN not in repr(joined)


async def test_the_join_token_is_read_from_its_file_when_needed(folder: Path) -> None:
    token_file = folder / "token"
    async with control_plane() as plane, linked(plane.url) as link:
        settings = replace(make_settings(folder, url=plane.url), join_token=None, join_token_file=token_file)
        with pytest.raises(JoinRefusedError, match="cannot be read"):
            await identity.load_or_join(settings, link)
        token_file.write_text("tfj_from_a_file\n")
        await identity.load_or_join(settings, link)
        assert plane.joins[0].join_token == "tfj_from_a_file"


async def test_a_node_without_token_is_told_which_variable_is_missing(folder: Path) -> None:
    async with linked(nowhere()) as link:
        with pytest.raises(JoinRefusedError, match="TURNFLEET_AGENT_JOIN_TOKEN"):
            await identity.load_or_join(replace(make_settings(folder), join_token=None), link)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"node_id":1}'])
def test_an_identity_that_cannot_be_read_is_not_joined_over(folder: Path, content: bytes) -> None:
    (folder / "node.json").write_bytes(content)
    with pytest.raises(IdentityError, match="join again"):
        identity.load(folder)


def test_the_agent_loads_nothing_of_the_server() -> None:
    code = (
        "import sys, agents.cli, agents.agent\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'litestar', 'redis', 'asyncpg', 'apscheduler', 'uvicorn', 'cryptography', 'typer'}))\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('controlplane.')}\n"
        "print(sorted(rooms - {'wire', 'turn'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["[]", "[]"]


def test_authorities_that_cannot_be_read_are_told_in_a_sentence(folder: Path) -> None:
    path = folder / "authorities.pem"
    path.write_text("no certificate")
    with pytest.raises(SettingsError, match="TURNFLEET_AGENT_CA_FILE"):
        Link(origins=("https://turn.example",), ca_file=path)


async def test_a_folder_that_cannot_be_written_to_keeps_the_node_from_joining_with_a_sentence(folder: Path) -> None:
    settings = make_settings(folder)
    (settings.state_dir / "joining.json").mkdir(parents=True)
    async with control_plane() as plane, linked(plane.url) as link:
        with pytest.raises(IdentityError, match="does not join"):
            await identity.load_or_join(settings, link)
        assert plane.joins == []


async def test_an_identity_that_cannot_be_kept_is_told_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(identity, "save", full)
    async with control_plane() as plane, linked(plane.url) as link:
        with pytest.raises(IdentityError, match="No space left"):
            await identity.load_or_join(make_settings(folder, url=plane.url), link)


async def test_a_join_token_that_is_no_text_is_told(folder: Path) -> None:
    (folder / "token").write_bytes(b"\xff\xfe")
    async with linked(nowhere()) as link:
        with pytest.raises(JoinRefusedError, match="no text"):
            await identity.load_or_join(replace(make_settings(folder), join_token=None, join_token_file=folder / "token"), link)
