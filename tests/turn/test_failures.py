"""Each failure of the closed list, from a server on loopback that really fails so."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path

import pytest
from aioice import stun

from controlplane.turn.failures import MOST_WORDS, failure_of
from controlplane.turn.relaying import Outcome, probe_url, relay_packet
from controlplane.turn.target import Target
from controlplane.turn.trust import trust
from controlplane.wire.agent_api import Transport
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, free_port
from tests.turn.servers import at, certificate, closing, refusing, reply, rude, serving, silent, stream_server, stun_server

SOON = 0.4
LONG = 5.0
NOBODY = ("1:probe", Redacted("p"))


async def tried(target: Target, *, ca_file: Path | None = None, deadline_seconds: float = LONG) -> Outcome:
    context = trust(ca_file) if target.transport == "tls" else None
    return await relay_packet(target, credential=NOBODY, context=context, deadline_seconds=deadline_seconds)


def kind(outcome: Outcome) -> RelayFailure | None:
    return None if outcome.failure is None else outcome.failure.kind


@pytest.mark.parametrize("name", ["relay.invalid", "x" * 64 + ".test", "a..b"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_name_without_an_address_is_dns(name: str, transport: Transport) -> None:
    outcome = await tried(Target(transport=transport, address=name, port=3478, server_name=name), deadline_seconds=SOON)
    # Where there is no name server at all, nobody can know.
    assert kind(outcome) in {RelayFailure.DNS, RelayFailure.DNS_NO_ANSWER}
    assert outcome.failure is not None
    assert outcome.failure.words.startswith("DNS: ")


def test_name_servers_that_do_not_answer_are_no_failure_of_the_relay() -> None:
    away = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert failure_of(away, step="look up", deadline_seconds=5).kind is RelayFailure.DNS_NO_ANSWER
    hangs = failure_of(TimeoutError(), step="look up", deadline_seconds=5)
    assert (hangs.kind, hangs.words) == (RelayFailure.DNS_NO_ANSWER, "DNS: no answer within 5 s")
    assert failure_of(socket.gaierror(socket.EAI_NONAME, "unknown"), step="look up", deadline_seconds=1).kind is RelayFailure.DNS


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_closed_port_is_refused(transport: Transport) -> None:
    assert kind(await tried(at(free_port(), transport))) is RelayFailure.REFUSED


async def test_a_silent_udp_port_gives_no_answer_and_keeps_to_the_deadline() -> None:
    began = asyncio.get_running_loop().time()
    async with stun_server(lambda _: None) as target:
        outcome = await tried(target, deadline_seconds=SOON)
    assert kind(outcome) is RelayFailure.NO_ANSWER
    assert asyncio.get_running_loop().time() - began < SOON + 1


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_server_that_takes_connections_and_says_nothing_gives_no_answer(transport: Transport) -> None:
    async with stream_server(silent) as port:
        assert kind(await tried(at(port, transport), deadline_seconds=SOON)) is RelayFailure.NO_ANSWER


async def test_a_server_that_hangs_up_is_closed() -> None:
    async with stream_server(closing) as port:
        assert kind(await tried(at(port, "tcp"))) is RelayFailure.CLOSED


def test_a_host_that_the_network_has_no_way_to_is_unreachable() -> None:
    error = OSError(errno.EHOSTUNREACH, "No route to host")
    assert failure_of(error, step="allocate", deadline_seconds=1).kind is RelayFailure.UNREACHABLE


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EMFILE, errno.EPERM])
def test_what_this_machine_cannot_send_is_no_failure_of_the_relay(number: int) -> None:
    failure = failure_of(OSError(number, "why"), step="connect", deadline_seconds=1)
    assert (failure.kind, failure.words) == (RelayFailure.NOT_SENT, "connect: this machine cannot send there: why")


async def test_what_this_machine_may_not_send_is_not_sent() -> None:
    # No datagram may go to the broadcast address unasked: the kernel refuses it as it does what a firewall forbids.
    outcome = await tried(Target(transport="udp", address="255.255.255.255", port=9, server_name=""), deadline_seconds=SOON)
    assert kind(outcome) is RelayFailure.NOT_SENT


@pytest.mark.parametrize(
    ("given", "name", "trusted", "expected"),
    [
        ({}, "other.test", True, RelayFailure.TLS_NAME),
        ({}, LOOPBACK, True, RelayFailure.TLS_NAME),
        ({"begins_in_days": -3, "ends_in_days": -1}, "relay.test", True, RelayFailure.TLS_EXPIRED),
        ({"begins_in_days": 1, "ends_in_days": 3}, "relay.test", True, RelayFailure.TLS_NOT_YET_VALID),
        ({}, "relay.test", False, RelayFailure.TLS_UNTRUSTED),
    ],
    ids=["name", "address", "expired", "not-yet", "untrusted"],
)
async def test_a_certificate_that_is_not_good_is_told_why(
    folder: Path, given: dict[str, float], name: str, trusted: bool, expected: RelayFailure
) -> None:
    path = certificate(folder, **given)  # type: ignore[arg-type] # days
    async with stream_server(silent, context=serving(path)) as port:
        outcome = await tried(at(port, "tls", name=name), ca_file=path if trusted else None)
    assert kind(outcome) is expected
    assert outcome.took == {}


async def test_a_good_certificate_is_taken(folder: Path) -> None:
    path = certificate(folder)
    async with stream_server(silent, context=serving(path)) as port:
        outcome = await tried(at(port, "tls", name="relay.test"), ca_file=path, deadline_seconds=1)
    assert kind(outcome) is RelayFailure.NO_ANSWER
    assert set(outcome.took) == {"connect"}


async def test_what_speaks_no_tls_fails_in_the_handshake() -> None:
    async with stream_server(rude) as port:
        assert kind(await tried(at(port, "tls"))) is RelayFailure.TLS_FAILED


@pytest.mark.parametrize(
    ("method", "code", "expected"),
    [
        (stun.Method.ALLOCATE, 401, RelayFailure.UNAUTHORIZED),
        (stun.Method.ALLOCATE, 403, RelayFailure.FORBIDDEN),
        (stun.Method.ALLOCATE, 437, RelayFailure.ALLOCATION_LOST),
        (stun.Method.ALLOCATE, 486, RelayFailure.QUOTA_REACHED),
        (stun.Method.ALLOCATE, 508, RelayFailure.NO_RELAY_PORT),
        (stun.Method.ALLOCATE, 300, RelayFailure.OTHER_CODE),
        (stun.Method.CHANNEL_BIND, 403, RelayFailure.FORBIDDEN),
        (stun.Method.CHANNEL_BIND, 437, RelayFailure.ALLOCATION_LOST),
    ],
)
async def test_a_code_is_told_with_its_meaning(method: stun.Method, code: int, expected: RelayFailure) -> None:
    async with stun_server(refusing(method, code)) as target:
        outcome = await tried(target)
    assert kind(outcome) is expected
    assert outcome.failure is not None
    assert outcome.failure.words.startswith(f"{code}: ")


async def test_a_port_that_has_an_allocation_still_is_exchanged_for_another() -> None:
    refused: list[stun.Message] = []

    def answer(request: stun.Message) -> bytes:
        if request.message_method == stun.Method.ALLOCATE and not refused:
            refused.append(request)
            return reply(request, ERROR_CODE=(437, "Mismatched allocation"))
        return reply(request, XOR_RELAYED_ADDRESS=(LOOPBACK, 9), LIFETIME=600)

    async with stun_server(answer) as target:
        outcome = await tried(target, deadline_seconds=SOON)
    assert (len(refused), kind(outcome)) == (1, RelayFailure.NO_ECHO), "it went on with the second allocation"


async def test_403_means_something_else_for_an_allocation_than_for_a_peer() -> None:
    words = []
    for method in (stun.Method.ALLOCATE, stun.Method.CHANNEL_BIND):
        async with stun_server(refusing(method, 403)) as target:
            failure = (await tried(target)).failure
        words.append("" if failure is None else failure.words)
    assert words == ["403: coturn takes no new allocations", "403: coturn forbids the echo as a peer"]


@pytest.mark.parametrize("said", [{}, {"XOR_RELAYED_ADDRESS": ("0.0.0.0", 9)}, {"XOR_RELAYED_ADDRESS": (LOOPBACK, 0)}])
async def test_an_allocation_without_an_address_is_no_relay_address(said: dict[str, object]) -> None:
    async with stun_server(lambda request: reply(request, LIFETIME=600, **said)) as target:
        assert kind(await tried(target)) is RelayFailure.NO_RELAY_ADDRESS


async def test_an_error_that_names_no_code_is_a_failure_all_the_same() -> None:
    def answer(request: stun.Message) -> bytes:
        return bytes(stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id))

    async with stun_server(answer) as target:
        assert kind(await tried(target)) is RelayFailure.OTHER_CODE


async def test_a_packet_that_does_not_come_back_is_no_echo() -> None:
    async with stun_server(lambda request: reply(request, XOR_RELAYED_ADDRESS=(LOOPBACK, 9))) as target:
        outcome = await tried(target, deadline_seconds=SOON)
    assert kind(outcome) is RelayFailure.NO_ECHO
    assert set(outcome.took) == {"connect", "allocate", "bind"}
    assert outcome.milliseconds is None


async def test_rubbish_is_no_answer() -> None:
    async with stun_server(lambda request: b"\x01\x03\xff\xff" + bytes(request)[4:]) as target:
        assert kind(await tried(target, deadline_seconds=SOON)) is RelayFailure.NO_ANSWER


@pytest.mark.parametrize("url", ["http://x", "turn:", "turns:relay.test?transport=udp", "turn:relay.test:0", "turn:a b"])
async def test_a_url_that_is_none_is_told_so(url: str) -> None:
    told = await probe_url(url, credential=NOBODY, context=None)
    assert (told.ok, told.failure, told.transport) == (False, RelayFailure.URL_UNUSABLE, None)
    assert told.words


async def test_no_authorities_at_all_fails_tls_and_nothing_else() -> None:
    outcome = await relay_packet(at(free_port(), "tls"), credential=NOBODY, context=None)
    assert kind(outcome) is RelayFailure.TLS_FAILED


def test_words_of_the_other_side_are_cut_short() -> None:
    assert len(failure_of(OSError("y" * 300), step="connect", deadline_seconds=1).words) == MOST_WORDS


def test_every_failure_has_a_test() -> None:
    text = Path(__file__).read_text()
    assert [each for each in RelayFailure if f"RelayFailure.{each.name}" not in text] == []
