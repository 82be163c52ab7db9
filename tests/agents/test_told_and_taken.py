"""The whole agent: what it tells of its host, and the next token that it takes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agents import found as found_module
from agents import identity
from controlplane.wire.findings import Finding
from controlplane.wire.found_api import FINDINGS_MAX, Found
from controlplane.wire.redacted import Redacted
from tests.agents.control_plane import TOKEN, control_plane
from tests.agents.places import eventually, make_settings, write_certificate
from tests.agents.test_whole_agent import running

NEXT = "tfn_next"


async def test_what_was_found_is_told_with_the_certificate_and_the_addresses(folder: Path) -> None:
    async with control_plane() as plane:
        async with running(make_settings(folder, url=plane.url, tls=True)):
            await eventually(lambda: bool(plane.found) and plane.found[-1].tls_offered, what="what was found", seconds=20)
            last = plane.last
            assert last is not None
            assert last.certificate_ends_at is not None
            assert 0.9 < (last.certificate_ends_at - last.sent_at) / 86_400 < 1.1
        told = plane.found[-1]
    assert (told.listen_address, told.relay_address, told.external_address) == ("127.0.0.1", "127.0.0.1", None)
    assert told.tls_fault is None
    states = {one.name: one.state for one in told.findings}
    assert states["certificate"] == "warning"  # it ends tomorrow
    assert states["control_plane"] == "ok"
    assert set(states) >= {"addresses", "external_address", "coturn", "capacity", "disk", "clock"}
    assert "tfj_test_token" not in str(plane.found)


async def test_a_certificate_that_turns_bad_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url, tls=True)
        assert settings.tls_cert is not None
        assert settings.tls_key is not None
        certificate, key = write_certificate(folder, name="somebody.else")
        settings.tls_cert.write_bytes(certificate.read_bytes())
        settings.tls_key.write_bytes(key.read_bytes())
        async with running(settings):
            await eventually(lambda: any(one.tls_fault for one in plane.found), what="the fault", seconds=20)
        told = plane.found[-1]
    assert not told.tls_offered
    assert told.tls_fault is not None
    assert "somebody.else" in told.tls_fault


async def test_what_was_not_answered_is_told_again_and_what_was_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_module, "RETRY_BASE_SECONDS", 0.01)
    monkeypatch.setattr(found_module, "LOOK_SECONDS", 0.01)
    async with control_plane() as plane:
        plane.found_statuses = [503, 503]
        async with running(make_settings(folder, url=plane.url)):
            await eventually(lambda: len(plane.found) >= 3, what="the third try", seconds=20)
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) > count + 2, what="some more time")
    assert plane.found[0] == plane.found[1] == plane.found[2]
    for one, other in zip(plane.found[2:], plane.found[3:], strict=False):
        assert msgspec.structs.replace(one, examined_at=0) != msgspec.structs.replace(other, examined_at=0)


async def test_a_control_plane_that_does_not_know_the_call_is_left_alone(folder: Path) -> None:
    async with control_plane() as plane:
        plane.found_statuses = [404] * 50
        async with running(make_settings(folder, url=plane.url)):
            await eventually(lambda: bool(plane.found), what="the first try", seconds=20)
            count = len(plane.beats)
            await eventually(lambda: len(plane.beats) > count + 2, what="some more time")
        assert len(plane.found) == 1


async def test_the_longest_findings_fit(folder: Path) -> None:
    """Whatever a certificate or a name server puts into them."""
    long = found_module._finding(Finding(name="x", state="wrong", detail="\x00\n" + "ä" * 5000, remedy="r" * 5000))
    report = Found(examined_at=0, listen_address="::1", relay_address="::1", findings=[long] * FINDINGS_MAX)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Found) == report
    assert len(msgspec.json.encode(report)) < 64 * 1024


async def test_the_next_token_is_taken_kept_and_shown_after_a_restart(folder: Path) -> None:
    async with control_plane() as plane:
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(plane.usable, what="a usable node")
            plane.next_token = NEXT
            await eventually(lambda: plane.authorizations[-1] == f"Bearer {NEXT}", what="the next token")
            kept = identity.load(settings.state_dir)
            assert kept is not None
            assert (kept.token, kept.former_token) == (Redacted(NEXT), Redacted(TOKEN))
        plane.authorizations.clear()
        async with running(settings):
            await eventually(lambda: len(plane.authorizations) > 2, what="heartbeats")
        assert set(plane.authorizations) == {f"Bearer {NEXT}"}


async def test_an_agent_whose_next_token_is_refused_goes_on_with_the_one_before(folder: Path) -> None:
    async with control_plane() as plane:
        plane.known_tokens = {TOKEN}
        plane.next_token = NEXT
        plane.interval_seconds = 3.0
        settings = make_settings(folder, url=plane.url)
        async with running(settings):
            await eventually(lambda: f"Bearer {NEXT}" in plane.authorizations, what="the next token")
            plane.interval_seconds = 0.3
            tried = plane.authorizations.index(f"Bearer {NEXT}")
            await eventually(lambda: len(plane.authorizations) > tried + 4, what="more heartbeats")
            assert set(plane.authorizations[tried + 1 :]) == {f"Bearer {TOKEN}"}
            # It was shown again at once, not after an interval.
            assert plane.beat_times[tried + 1] - plane.beat_times[tried] < 1.0
            await eventually(plane.usable, what="a usable node")
