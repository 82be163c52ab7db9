"""What the doctor reads of real things: ports, servers on loopback, a real coturn as STUN server, a real control plane."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
from aioice import stun as messages

from agents.doctor.judge import origin as judge
from agents.doctor.look import origin, place, ports, stun
from tests.agents.certificates import DAY, MIDDLE, NOW, ROOT, Issued, issue, make_files
from tests.agents.places import LOOPBACK, free_port, make_settings
from tests.agents.relay import relay

Answer = Callable[[socket.socket], None]


@contextmanager
def server(answer: Answer, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """One connection, answered by the function."""

    def serve() -> None:
        try:
            plain, _ = listening.accept()
            with closing(tls.wrap_socket(plain, server_side=True) if tls is not None else plain) as connection:
                answer(connection)
        except OSError:
            plain.close()

    with closing(socket.create_server((LOOPBACK, 0))) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(20)


def answering(text: str) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.replace("\n", "\r\n").encode())

    return answer


def healthy(*, clock_offset_seconds: float = 0.0) -> Answer:
    date = formatdate(time.time() - clock_offset_seconds, usegmt=True)
    return answering(f'HTTP/1.1 200 OK\ndate: {date}\ncontent-length: 14\n\n{{"alive":true}}')


def asked(answer: Answer) -> tuple[str, str]:
    """State and sentence."""
    with server(answer) as port:
        told = judge.reached(origin.ask(f"http://{LOOPBACK}:{port}", ca_file=None))[0]
    return told.state, told.detail


def test_a_control_plane_that_answers_is_reached() -> None:
    with server(healthy()) as port:
        facts = origin.ask(f"http://{LOOPBACK}:{port}", ca_file=None)
    assert facts.step == "done"
    assert facts.is_turnfleet
    assert facts.addresses == (LOOPBACK,)
    assert [one.state for one in judge.reached(facts)] == ["ok", "ok"]


@pytest.mark.parametrize(("offset", "state"), [(0, "ok"), (8, "wrong"), (-8, "wrong"), (4, "warning")])
def test_the_clock_of_the_answer_is_compared(offset: float, state: str) -> None:
    with server(healthy(clock_offset_seconds=offset)) as port:
        facts = origin.ask(f"http://{LOOPBACK}:{port}", ca_file=None)
    assert facts.clock_offset_seconds == pytest.approx(offset, abs=1.0)
    assert judge.reached(facts)[1].state == state


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answering("HTTP/1.1 503 X\ncontent-length: 0\n\n"), "status 503"),
        (answering("HTTP/1.1 301 X\nlocation: https://b.test/\ncontent-length: 0\n\n"), "redirection to https://b.test/"),
        (answering("HTTP/1.1 200 OK\ncontent-length: 2\n\nhi"), "not as a turnfleet"),
        (answering("SSH-2.0-OpenSSH_9.2\n"), "the answer is not HTTP"),
        (answering("HTTP/1.1 200 OK\ncontent-length: 100\n\nhalf"), "not as a turnfleet"),
        (answering(""), "closed before an answer came"),
        (answering("HTTP/1.1 200 OK\ndate: yesterday\ncontent-length: 0\n\n"), "not as a turnfleet"),
    ],
)
def test_answers_that_are_none_are_told(answer: Answer, words: str) -> None:
    state, detail = asked(answer)
    assert state == "wrong"
    assert words in detail


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "ANSWER_SECONDS", 0.3)
    silent = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        silent.wait(10)

    with server(say_nothing) as port:
        told = judge.reached(origin.ask(f"http://{LOOPBACK}:{port}", ca_file=None))[0]
        silent.set()
    assert "no answer came" in told.detail


def test_a_closed_port_and_an_unknown_name_are_told_apart() -> None:
    port = free_port()
    assert "connection refused" in judge.reached(origin.ask(f"http://{LOOPBACK}:{port}", ca_file=None))[0].detail
    assert "cannot be resolved" in judge.reached(origin.ask("https://nosuch.invalid", ca_file=None))[0].detail


def test_a_host_that_drops_packets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "CONNECT_SECONDS", 0.3)
    # A full backlog: the kernel drops further connections without a word.
    with closing(socket.socket()) as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
            waiting.append(one)
        told = judge.reached(origin.ask(f"http://{LOOPBACK}:{listening.getsockname()[1]}", ca_file=None))[0]
        for one in waiting:
            one.close()
    assert "does not answer" in told.detail


def over_tls(folder: Path, own: Issued, *chain: Issued, ca: bool = True) -> tuple[str, str]:
    files = make_files(folder, own, *chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with server(healthy(), tls=context) as port:
        told = judge.reached(origin.ask(f"https://localhost:{port}", ca_file=files.authority if ca else None))[0]
    return told.state, told.detail


def test_tls_is_verified_as_the_agent_verifies_it(tmp_path: Path) -> None:
    assert over_tls(tmp_path, issue("localhost", issuer=MIDDLE), MIDDLE)[0] == "ok"


@pytest.mark.parametrize(
    ("own", "ca", "words"),
    [
        (issue("localhost", issuer=MIDDLE), False, "self-signed certificate in certificate chain"),
        (issue("other.test", issuer=MIDDLE), True, "not valid for 'localhost'"),
        (issue("localhost", issuer=MIDDLE, ends_at=NOW - DAY / 2), True, "certificate has expired"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(tmp_path: Path, own: Issued, ca: bool, words: str) -> None:
    state, detail = over_tls(tmp_path, own, MIDDLE, ROOT, ca=ca)
    assert state == "wrong"
    assert words in detail


def test_https_at_a_port_without_tls_is_told() -> None:
    with server(answering("HTTP/1.1 400 X\n\n")) as port:
        told = judge.reached(origin.ask(f"https://{LOOPBACK}:{port}", ca_file=None))[0]
    assert "the TLS handshake failed" in told.detail


# STUN


async def test_a_real_coturn_tells_the_address_that_it_sees(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings) as one:
        seen = await asyncio.to_thread(stun.mapped, (LOOPBACK, one.port), source=LOOPBACK)
    assert seen.address == LOOPBACK
    assert seen.port == seen.local_port


def test_a_silent_stun_server_is_given_up_in_time() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind((LOOPBACK, 0))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            stun.mapped(silent.getsockname(), source=LOOPBACK, deadline_seconds=0.5)
        assert time.monotonic() - began < 2


def test_a_closed_stun_port_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        stun.mapped((LOOPBACK, free_port()), source=LOOPBACK)


def test_lost_and_foreign_answers_are_asked_over() -> None:
    def serve() -> None:
        _, client = outside.recvfrom(2048)  # lost
        data, client = outside.recvfrom(2048)
        question = messages.parse_message(data)
        outside.sendto(b"junk", client)
        for transaction in (b"x" * 12, question.transaction_id):
            reply = messages.Message(messages.Method.BINDING, messages.Class.RESPONSE, transaction_id=transaction)
            reply.attributes["XOR-MAPPED-ADDRESS"] = ("11.0.0.9" if transaction == question.transaction_id else "6.6.6.6", 1234)
            outside.sendto(bytes(reply), client)

    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as outside:
        outside.settimeout(10)
        outside.bind((LOOPBACK, 0))
        thread = threading.Thread(target=serve)
        thread.start()
        seen = stun.mapped(outside.getsockname(), source=LOOPBACK)
        thread.join()
    assert (seen.address, seen.port) == ("11.0.0.9", 1234)


# ports and places


async def test_a_port_is_free_ours_or_somebody_elses(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        config = one.prepared.folder.config
        ours = ports.needed(settings, config=config)
        assert [(each.transport, each.port) for each in ours] == [
            ("udp", settings.port),
            ("tcp", settings.port),
            ("tcp", settings.tls_port),
            ("tcp", settings.cli_port),
        ]
        assert [[holder.pid for holder in each.holders] for each in ours] == [[one.process.pid]] * 4
        assert all(holder.is_ours for each in ours for holder in each.holders)
        theirs = ports.needed(settings, config=folder / "other.conf")
        assert not any(holder.is_ours for each in theirs for holder in each.holders)
    free = ports.needed(make_settings(folder), config=config)
    assert [each.error for each in free] == [None] * 3


def test_a_port_of_this_very_process_is_named(folder: Path) -> None:
    settings = make_settings(folder)
    with closing(socket.create_server((LOOPBACK, settings.port))):
        udp, tcp, _ = ports.needed(settings, config=folder / "x")
    assert udp.error is None
    assert [one.pid for one in tcp.holders] == [os.getpid()]


def test_coturns_own_version_is_read() -> None:
    found = place.coturn("turnserver", None)
    assert found.version is not None
    assert found.version >= (4, 5, 0)


@pytest.mark.parametrize(
    ("script", "said"), [("#!/bin/sh\necho no\n", "no"), ("#!/bin/sh\nexec sleep 60\n", "no answer within 0.3 s")]
)
def test_a_program_that_is_no_coturn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    monkeypatch.setattr(place, "VERSION_SECONDS", 0.3)
    program = tmp_path / "turnserver"
    program.write_text(script)
    program.chmod(0o755)
    found = place.coturn(str(program), None)
    assert found.version is None
    assert found.said == said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops coturn to another user")
def test_a_folder_that_coturns_user_cannot_enter_is_found_before_it_is_made(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    found = place.folder(make_settings(closed))
    assert (found.exists, found.nearest, found.closed) == (False, closed, closed)
    assert list(closed.iterdir()) == []


def test_a_foreign_file_in_the_place_of_the_database_is_found(folder: Path) -> None:
    settings = make_settings(folder)
    database = settings.state_dir / "coturn" / "db" / "turndb"
    database.parent.mkdir(parents=True)
    database.symlink_to("/etc/passwd")
    found = place.folder(settings)
    assert found.foreign_files is not None
    assert "a symbolic link" in found.foreign_files


def test_room_on_the_disk_is_that_of_the_nearest_folder(folder: Path) -> None:
    found = place.disk(make_settings(folder / "a" / "b"))
    assert found.path == folder
    assert found.free_bytes > 0


@pytest.mark.parametrize("content", [None, "junk"])
def test_an_identity_on_disk_is_read_or_said_to_be_broken(folder: Path, content: str | None) -> None:
    settings = make_settings(folder)
    if content is not None:
        settings.state_dir.mkdir()
        (settings.state_dir / "node.json").write_text(content)
    found = place.joined(settings)
    assert (found is None) == (content is None)
