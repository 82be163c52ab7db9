"""A browser with nothing but the API's reply: what it can do with a good credential, and what it cannot with a bad one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import get_args

import pytest

from deploy.local.regions import DEFAULT_REGIONS
from tests.e2e.browser.fleet import Fleet, Given
from tests.e2e.browser.peers import Peers, Transport
from tests.running_api import until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
# Not a whole number of chunks, so that the last one is a short one.
BYTE_COUNT = 256 * 1024 + 1
UNAUTHORIZED = 401


def with_another_password(given: Given) -> Given:
    stun, turn = given.ice_servers
    password = str(turn["credential"])
    other = ("B" if password.startswith("A") else "A") + password[1:]
    return replace(given, ice_servers=[stun, turn | {"credential": other}])


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("region", DEFAULT_REGIONS)
async def test_two_peers_meet_through_the_relay_of_the_region(
    region: str, transport: Transport, fleet: Fleet, peers: Peers
) -> None:
    node = fleet.node_of(region)
    given = await fleet.credentials(fixed_region=region)
    assert given.node_id == node.node_id
    relayed = await peers.relay(given.ice_servers, transport, byte_count=BYTE_COUNT)

    assert [transfer.byte_count for transfer in relayed.transfers] == [BYTE_COUNT, BYTE_COUNT]
    for transfer in relayed.transfers:
        assert transfer.received_sha256 == transfer.sent_sha256
    for pair in relayed.pairs:
        assert (pair.local.type, pair.remote.type) == ("relay", "relay")
        assert pair.local.relay_protocol == transport
        assert pair.local.url == node.url(transport)
        assert pair.local.address == node.host
    caller, callee = relayed.pairs
    # Each end is an allocation of its own, on the side of the other.
    assert (caller.local.address, caller.local.port) == (callee.remote.address, callee.remote.port)
    assert (callee.local.address, callee.local.port) == (caller.remote.address, caller.remote.port)


@pytest.mark.parametrize("region", DEFAULT_REGIONS)
async def test_the_node_reports_the_allocations_of_the_call(region: str, fleet: Fleet, peers: Peers) -> None:
    given = await fleet.credentials(fixed_region=region)
    await peers.relay(given.ice_servers, "udp", byte_count=1)

    async def both_reported() -> bool:
        return await fleet.allocations(given.node_id) >= 2

    await until(both_reported, what=f"two allocations in the report of {given.node_id}")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_wrong_password_gets_no_relay(transport: Transport, fleet: Fleet, peers: Peers) -> None:
    given = with_another_password(await fleet.credentials(fixed_region=DEFAULT_REGIONS[0]))
    gathering = await peers.gather(given.ice_servers, transport)
    assert gathering.candidate_types == []
    assert {(error.code, error.url) for error in gathering.errors} == {
        (UNAUTHORIZED, fleet.node_of(DEFAULT_REGIONS[0]).url(transport))
    }


@pytest.mark.parametrize("region", DEFAULT_REGIONS)
async def test_an_expired_credential_gets_no_relay(region: str, fleet: Fleet, peers: Peers) -> None:
    given = await fleet.credentials(fixed_region=region, ttl=1)

    async def expired() -> bool:
        return time.time() >= given.expiry_seconds + 1

    await until(expired, what="the credential's last second is over")
    gathering = await peers.gather(given.ice_servers, "udp")
    assert gathering.candidate_types == []
    assert {(error.code, error.url) for error in gathering.errors} == {(UNAUTHORIZED, fleet.node_of(region).url("udp"))}


async def test_a_credential_of_one_region_gets_no_relay_in_another(fleet: Fleet, peers: Peers) -> None:
    here, there = [await fleet.credentials(fixed_region=region) for region in DEFAULT_REGIONS[:2]]
    stolen = [there.ice_servers[0], here.ice_servers[1] | {"urls": there.ice_servers[1]["urls"]}]
    gathering = await peers.gather(stolen, "udp")
    assert gathering.candidate_types == []
    assert {error.code for error in gathering.errors} == {UNAUTHORIZED}
