"""A packet through a real coturn with the agent's own configuration, and back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from agents.probe import credential
from agents.prober import targets
from controlplane.fleet.credentials import sign
from controlplane.turn.client import TurnClient
from controlplane.turn.failures import Failure
from controlplane.turn.relaying import Outcome, probe_url, relay_packet
from controlplane.turn.round_trips import median_round_trip
from controlplane.turn.target import Target
from controlplane.turn.trust import trust
from controlplane.turn.username import is_probe, probe_id
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, OTHER_SECRET, SECRET, free_port, make_settings
from tests.agents.relay import Relay, relay
from tests.running_api import until
from tests.turn.servers import at, reply, stun_server


async def relayed(target: Target, one: Relay, *, secret: Redacted = SECRET) -> Outcome:
    context = trust(one.prepared.settings.ca_file) if target.transport == "tls" else None
    return await relay_packet(target, credential=credential(secret, now=time.time()), context=context)


async def no_allocations(one: Relay) -> None:
    async def none() -> bool:
        return await one.command_line.total_sessions() == 0

    await until(none, what="every allocation is released")


async def test_every_listener_relays_to_itself_and_leaves_nothing_behind(folder: Path) -> None:
    settings = make_settings(folder, tls=True)
    async with relay(settings) as one:
        for target in targets(settings):
            outcome = await relayed(target, one)
            assert outcome.failure is None, outcome.failure
            assert set(outcome.took) == {"connect", "allocate", "bind", "echo"}
            assert outcome.milliseconds is not None
        await no_allocations(one)


async def test_a_relay_behind_a_nat_is_reached_by_its_external_address(folder: Path) -> None:
    settings = make_settings(folder, external_address="9.9.9.9")
    async with relay(settings) as one:
        username, password = credential(SECRET, now=time.time())
        client = TurnClient(username=username, password=password)
        await client.connect_udp(LOOPBACK, settings.port)
        address, _ = await client.allocate()
        await client.release()
        client.close()
        outcome = await relayed(targets(settings)[0], one)
    assert address == "9.9.9.9"
    assert outcome.failure is None


async def test_one_allocation_is_enough_for_a_quota_of_one(folder: Path) -> None:
    settings = make_settings(folder, user_quota=1)
    async with relay(settings) as one:
        outcome = await relayed(targets(settings)[0], one)
    assert outcome.failure is None


async def test_a_second_allocation_over_the_quota_is_told_as_486(folder: Path) -> None:
    settings = make_settings(folder, user_quota=1)
    async with relay(settings):
        username, password = credential(SECRET, now=time.time())
        holder = TurnClient(username=username, password=password)
        await holder.connect_udp(LOOPBACK, settings.port)
        await holder.allocate()
        outcome = await relay_packet(targets(settings)[0], credential=(username, password), context=None)
        holder.close()
    assert outcome.failure is not None
    assert outcome.failure.kind is RelayFailure.QUOTA_REACHED


async def test_a_secret_that_coturn_has_not_is_told_as_401(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings) as one:
        outcome = await relayed(targets(settings)[0], one, secret=OTHER_SECRET)
    assert outcome.failure == Failure(RelayFailure.UNAUTHORIZED, "401: coturn does not accept the credential")


async def test_a_url_is_tried_as_an_application_got_it(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings):
        signed = sign(SECRET.reveal().encode(), credential_id=probe_id(), expires_at_unix=int(time.time()) + 30)
        url = f"turn:{LOOPBACK}:{settings.port}?transport=tcp"
        told = await probe_url(url, credential=(signed.username, Redacted(signed.password)), context=None)
    assert (told.url, told.transport, told.ok, told.failure) == (url, "tcp", True, None)
    steps = (told.connect_milliseconds, told.allocate_milliseconds, told.round_trip_milliseconds)
    assert all(each is not None and 0 < each <= (told.milliseconds or 0) for each in steps)
    assert is_probe(signed.username)


async def test_a_round_trip_is_measured_without_any_credential(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings):
        took = await median_round_trip(at(settings.port))
    assert isinstance(took, float)
    assert 0 < took < 1000


async def test_a_round_trip_is_the_median_of_what_was_answered() -> None:
    answered: set[bytes] = set()

    def answer(request: stun.Message) -> bytes | None:
        answered.add(request.transaction_id)
        return reply(request) if len(answered) <= 2 else None

    async with stun_server(answer) as target:
        took = await median_round_trip(target, deadline_seconds=0.5)
    assert isinstance(took, float)


async def test_a_round_trip_to_nobody_is_a_failure() -> None:
    refused = await median_round_trip(at(free_port()), deadline_seconds=1)
    async with stun_server(lambda _: None) as target:
        unanswered = await median_round_trip(target, deadline_seconds=0.3)
    assert [isinstance(each, Failure) and each.kind for each in (refused, unanswered)] == [
        RelayFailure.REFUSED,
        RelayFailure.NO_ANSWER,
    ]


@given(st.binary(max_size=200))
def test_no_bytes_of_a_relay_are_an_exception(data: bytes) -> None:
    client = TurnClient(username="u", password=Redacted("p"))
    client.datagram_received(data, None)
    client.data_received(data)
    client.datagram_received(b"\x01\x03" + len(data).to_bytes(2) + b"\x21\x12\xa4\x42" + bytes(12) + data, None)


async def test_a_relay_that_floods_us_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TurnClient(username="u", password=Redacted("p"))
    monkeypatch.setattr("controlplane.turn.client._MOST_PACKETS", 3)
    for _ in range(10):
        client.datagram_received(b"\x40\x00\x00\x01x", None)
    assert client._data.qsize() == 3
