"""The probe, the command line and the hardening against a real coturn."""

from __future__ import annotations

import asyncio
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents import probe, prober
from agents.coturn import cli_replies, command_line, logfile
from agents.coturn.folder import Owner
from controlplane.turn.client import TurnClient, TurnError
from controlplane.turn.target import Target
from controlplane.turn.trust import trust
from controlplane.wire.agent_api import ListenerProbe
from controlplane.wire.redacted import Redacted
from tests.agents.places import OTHER_SECRET, SECRET, eventually, make_settings, write_certificate
from tests.agents.relay import Relay, relay


async def probed(one: Relay, target: Target, *, secret: Redacted = SECRET, deadline_seconds: float = 2.0) -> ListenerProbe:
    context = trust(one.prepared.settings.ca_file) if target.transport == "tls" else None
    return await probe.probe(target, secret=secret, echo=one.echo, context=context, deadline_seconds=deadline_seconds)


async def test_every_listener_echoes_and_the_allocations_are_released(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        for target in prober.targets(settings):
            result = await probed(one, target)
            assert result.ok, result.failure
            assert result.milliseconds is not None
        deadline = asyncio.get_running_loop().time() + 5
        while await one.command_line.total_sessions() != 0:
            assert asyncio.get_running_loop().time() < deadline, "allocations were left behind"
            await asyncio.sleep(0.02)


async def test_a_wrong_secret_is_told_as_401(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings) as one:
        result = await probed(one, prober.targets(settings)[0], secret=OTHER_SECRET)
    assert result.failure == "401: coturn does not accept the newest loaded secret"


@pytest.mark.parametrize("index", [0, 1], ids=["udp", "tcp"])
async def test_a_suspended_coturn_is_told_as_no_answer(folder: Path, index: int) -> None:
    settings = make_settings(folder)
    async with relay(settings) as one:
        handle = one.suspended()
        result = await probed(one, prober.targets(settings)[index], deadline_seconds=0.5)
        handle.resume()
    assert result.failure == "no answer within 0.5 s"


@pytest.mark.parametrize("index", [0, 1, 2], ids=["udp", "tcp", "tls"])
async def test_a_closed_port_is_told_as_refused(folder: Path, index: int) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        nowhere = replace(prober.targets(settings)[index], port=make_settings(folder).port)
        result = await probed(one, nowhere)
    assert result.failure == "refused: nothing listens there"


async def test_a_certificate_for_another_name_is_told_in_words(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        wrong = replace(prober.targets(settings)[2], server_name="other.test")
        result = await probed(one, wrong)
    assert result.failure is not None
    assert result.failure.startswith("TLS: ")
    assert "other.test" in result.failure


async def test_an_unknown_authority_is_told_in_words(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        result = await probe.probe(
            prober.targets(settings)[2], secret=SECRET, echo=one.echo, context=trust(None), deadline_seconds=2.0
        )
    assert result.failure is not None
    assert result.failure.startswith("TLS: self")


async def test_a_silent_echo_is_told(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings) as one:
        silent = replace(one.echo, tag=b"not the tag here")
        result = await probe.probe(prober.targets(settings)[0], secret=SECRET, echo=silent, context=None, deadline_seconds=0.5)
    assert result.failure == "no echo within 0.5 s"


async def test_no_relay_port_left_is_told_as_508(folder: Path) -> None:
    settings = make_settings(folder, relay_ports=(4990, 4991), total_quota=10)
    async with relay(settings) as one:
        clients = [await allocated(one) for _ in range(2)]
        result = await probed(one, prober.targets(settings)[0])
        for client in clients:
            client.close()
    assert result.failure == "508: coturn has no relay port left"


DENIED_IPV6 = ["::ffff:10.1.2.3", "::ffff:169.254.169.254", "64:ff9b::a01:203", "2002:a00:1::1", "fe80::1", "fd00::1"]
DENIED = ["192.168.1.1", "169.254.169.254", "10.1.2.3", "172.31.255.255", "100.64.0.1", "0.0.0.1", "240.0.0.1", "198.51.100.7"]


async def test_a_peer_in_a_denied_range_gets_403_and_our_own_relay_address_is_allowed(folder: Path) -> None:
    async with relay(make_settings(folder)) as one:
        client = await allocated(one)
        for peer in DENIED:
            with pytest.raises(TurnError) as caught:
                await client.permit((peer, 9))
            assert caught.value.code == 403, peer
        await client.permit(("127.0.0.1", 9))
        await client.permit(("9.9.9.9", 9))
        await client.release()
        client.close()


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this host has no IPv6")
async def test_an_ipv6_relay_echoes_and_denies_addresses_hidden_in_ipv6(folder: Path) -> None:
    settings = make_settings(folder, listen_address="::1", relay_address="::1")
    async with relay(settings) as one:
        result = await probed(one, prober.targets(settings)[0])
        assert result.ok, result.failure
        client = await allocated(one)
        for peer in DENIED_IPV6:
            with pytest.raises(TurnError) as caught:
                await client.permit((peer, 9))
            assert caught.value.code == 403, peer
        await client.permit(("2a00::1", 9))
        await client.release()
        client.close()


async def test_a_log_that_grew_too_big_is_moved_away_and_coturn_goes_on_in_the_new_one(folder: Path) -> None:
    async with relay(make_settings(folder)) as one:
        path, old = one.prepared.folder.log_file, one.prepared.folder.log_file.with_name("turn.log.1")
        await eventually(lambda: "New UID" in path.read_text(), what="a complete start")
        logfile.rotate(path, one.prepared.owner)
        first = path.stat()
        assert (first.st_size, stat.S_IMODE(first.st_mode)) == (0, stat.S_IMODE(old.stat().st_mode))
        one.process.signal(signal.SIGHUP)
        # A wrong credential is a line in the log. What coturn says before it takes the signal goes to the old file.
        sizes = []
        for lines in (1, 2):
            await probed(one, prober.targets(one.prepared.settings)[0], secret=OTHER_SECRET)
            said = "Cannot find credentials"
            await eventually(lambda: path.read_text().count(said) >= lines, what="a new line in the new file")  # noqa: B023
            sizes.append(old.stat().st_size)
        assert path.stat().st_ino == first.st_ino
        assert sizes[0] == sizes[1]


def test_the_last_lines_name_nobody_and_carry_no_tag(folder: Path) -> None:
    path, prefix = folder / "turn.log", "2026-11-22T05:34:25+0000.0123456789abcdef: "
    personal = ["session 1: new", "x user <a>", "IPv4. tcp or tls connected to: 192.0.2.7:5", "closed, remote 192.0.2.7:5"]
    path.write_text("192.0.2.7 " + "x" * 5000 + "\n" + "".join(f"{prefix}{line}\n" for line in (*personal, "ERROR: no memory")))
    assert logfile.last_lines(path) == ["2026-11-22T05:34:25+0000: ERROR: no memory"]


def test_a_rotation_follows_no_link(folder: Path) -> None:
    path, elsewhere = folder / "turn.log", folder / "elsewhere"
    path.write_text("x" * 100)
    elsewhere.write_text("kept")
    path.with_name("turn.log.1").symlink_to(elsewhere)
    logfile.rotate(path, Owner(user=None, group=None, uid=None, gid=None))
    assert elsewhere.read_text() == "kept"
    assert not path.with_name("turn.log.1").is_symlink()
    assert path.with_name("turn.log.1").read_text() == "x" * 100
    assert path.stat().st_size == 0


def test_a_log_is_rotated_over_what_was_not_read_only_when_it_is_far_too_big(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "ROTATE_BYTES", 10)
    monkeypatch.setattr(logfile, "MOST_UNREAD_BYTES", 20)
    path = folder / "turn.log"
    cases = {9: (False, False), 10: (True, False), 19: (True, False), 20: (True, True)}
    for size, expected in cases.items():
        path.write_text("x" * size)
        assert tuple(logfile.rotation_is_due(path, all_read=all_read) for all_read in (True, False)) == expected


async def test_the_command_line_counts_allocations_and_survives_a_dropped_connection(folder: Path) -> None:
    async with relay(make_settings(folder)) as one:
        assert one.command_line.version == "4.6.1"
        clients = [await allocated(one) for _ in range(3)]
        assert await one.command_line.total_sessions() == 3
        one.command_line.drop()
        assert await one.command_line.total_sessions() == 3
        for client in clients:
            await client.release()
            client.close()


async def test_the_command_line_answers_none_for_a_suspended_coturn_and_recovers(folder: Path) -> None:
    async with relay(make_settings(folder)) as one:
        handle = one.suspended()
        assert await one.command_line.total_sessions() is None
        handle.resume()
        assert await one.command_line.total_sessions() == 0


async def test_coturn_takes_every_option_but_the_newer_cli_switch(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        log = one.prepared.folder.log_file
        await eventually(lambda: "New UID" in log.read_text(), what="a complete start")
        complaints = {line.split(": ", 1)[-1] for line in log.read_text().splitlines() if "Bad configuration" in line}
    assert complaints == {"Bad configuration format: cli"}


async def allocated(one: Relay) -> TurnClient:
    client = await connected(one, *probe.credential(SECRET, now=time.time()))
    async with asyncio.timeout(5):
        await client.allocate()
    return client


async def connected(one: Relay, username: str, password: Redacted) -> TurnClient:
    client = TurnClient(username=username, password=password)
    async with asyncio.timeout(5):
        await client.connect_udp(one.prepared.settings.listen_address, one.port)
    return client


async def test_the_third_allocation_of_one_credential_is_over_a_quota_of_two(folder: Path) -> None:
    settings = make_settings(folder, user_quota=2)
    async with relay(settings) as one:
        now = time.time()
        mine, other = probe.credential(SECRET, now=now), probe.credential(SECRET, now=now)
        clients = [await connected(one, *mine) for _ in range(3)]
        await clients[0].allocate()
        await clients[1].allocate()
        with pytest.raises(TurnError) as caught:
            await clients[2].allocate()
        assert caught.value.code == 486
        clients.append(await connected(one, *other))
        await clients[-1].allocate()
        for client in clients:
            client.close()


async def test_coturn_takes_quotas_and_denied_peers(folder: Path) -> None:
    settings = make_settings(
        folder, total_quota=50, max_bytes_per_second_per_session=100_000, denied_peers=("9.9.9.9", "8.8.8.0-8.8.8.255")
    )
    async with relay(settings) as one:
        log = one.prepared.folder.log_file
        await eventually(lambda: "New UID" in log.read_text(), what="a complete start")
        complaints = {line.split(": ", 1)[-1] for line in log.read_text().splitlines() if "Bad configuration" in line}
        assert complaints == {"Bad configuration format: cli"}
        client = await allocated(one)
        for peer in ("9.9.9.9", "8.8.8.8"):
            with pytest.raises(TurnError) as caught:
                await client.permit((peer, 9))
            assert caught.value.code == 403, peer
        await client.permit(("9.9.9.10", 9))
        await client.release()
        client.close()


def test_the_operators_authorities_stand_beside_the_systems(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systems, _ = write_certificate(folder, name="system.test")
    own, _ = write_certificate(folder, name="own.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(systems))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder / "none"))
    assert len(trust(None).get_ca_certs()) == 1
    assert len(trust(own).get_ca_certs()) == 2


async def test_a_connection_that_is_dropped_while_it_is_made_is_an_answer_of_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_until = command_line._read_until
    async with relay(make_settings(folder)) as one:

        async def dropping(reader: asyncio.StreamReader, complete: Callable[[bytes | bytearray], bool]) -> bytes:
            received = await read_until(reader, complete)
            if complete is cli_replies.prompted:
                one.command_line.drop()
            return received

        one.command_line.drop()
        monkeypatch.setattr(command_line, "_read_until", dropping)
        assert await one.command_line.total_sessions() is None
        monkeypatch.undo()
        assert await one.command_line.total_sessions() == 0
