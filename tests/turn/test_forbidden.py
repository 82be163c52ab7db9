"""Peers that no relay may reach: asked of a real coturn, with the agent's configuration and with careless ones."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from agents.coturn.peers import DENIED, bounds
from agents.probe import credential
from agents.settings import AgentSettings
from controlplane.turn.failures import Failure
from controlplane.turn.forbidden import FORBIDDEN, PeersTried, judged, try_forbidden_peers
from controlplane.turn.target import Target
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.redacted import Redacted
from tests.agents.places import OTHER_SECRET, SECRET, free_port, make_settings
from tests.agents.relay import relay
from tests.turn.servers import reply, stun_server

HAS_IPV6 = Path("/proc/net/if_inet6").exists()
ON_IPV6: dict[str, Any] = {"listen_address": "::1", "relay_address": "::1"}


async def tried(settings: AgentSettings, *, secret: Redacted = SECRET, port: int | None = None) -> PeersTried | Failure:
    target = Target(transport="udp", address=settings.listen_address, port=port or settings.port, server_name="")
    return await try_forbidden_peers(target, credential=lambda: credential(secret, now=time.time()), context=None)


async def test_the_agents_configuration_permits_none(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert found.permitted == ()
    assert {"10.0.0.0", "169.254.169.254", "::ffff:127.0.0.1", "::1"} <= set(found.refused)
    assert "127.0.0.1" not in found.refused  # loopback is where this relay stands


@pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6")
async def test_the_agents_configuration_permits_none_over_ipv6(folder: Path) -> None:
    settings = make_settings(folder, **ON_IPV6)
    async with relay(settings):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert found.permitted == ()
    assert {"::ffff:127.0.0.1", "fe80::1", "127.0.0.1"} <= set(found.refused)


async def test_a_relay_without_denied_peers_is_found_out(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings, without="denied-peer-ip"):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert {"10.0.0.0", "169.254.169.254", "192.168.255.255"} <= set(found.permitted)
    assert "::1" in found.refused
    assert not set(found.permitted) & set(found.refused)


@pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6")
async def test_a_list_of_ipv4_ranges_alone_lets_mapped_addresses_pass_and_is_found_out(folder: Path) -> None:
    settings = make_settings(folder, **ON_IPV6)
    async with relay(settings, without=r"denied-peer-ip=[0-9a-f]*:"):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert "::ffff:127.0.0.1" in found.permitted
    assert "10.0.0.0" not in found.permitted


@pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6")
async def test_a_second_relay_address_of_the_other_family_is_looked_behind(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings, without=r"denied-peer-ip=[0-9a-f]*:", also="relay-ip=::1\n"):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert {"::ffff:127.0.0.1", "fe80::1"} <= set(found.permitted)
    assert "10.0.0.0" in found.refused


async def test_one_range_that_is_missing_is_found_out(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings, without=r"denied-peer-ip=169\.254"):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found
    assert found.permitted == ("169.254.1.1", "169.254.169.254")


async def test_a_quota_of_one_allocation_is_not_in_the_way(folder: Path) -> None:
    settings = make_settings(folder, user_quota=1)
    async with relay(settings):
        found = await tried(settings)
    assert isinstance(found, PeersTried), found


async def test_what_is_permitted_is_told_also_when_the_relay_falls_silent() -> None:
    def answer(request: stun.Message) -> bytes | None:
        peer = request.attributes.get("XOR-PEER-ADDRESS", ("", 0))[0]
        if request.message_method == stun.Method.ALLOCATE:
            return reply(request, XOR_RELAYED_ADDRESS=("9.9.9.9", 9), LIFETIME=600)
        return reply(request) if peer == "169.254.169.254" else None

    async with stun_server(answer) as target:
        found = await try_forbidden_peers(
            target, credential=lambda: credential(SECRET, now=time.time()), context=None, deadline_seconds=0.5
        )
    assert found == PeersTried(permitted=("169.254.169.254",), refused=())


async def test_a_relay_that_takes_no_allocation_is_not_called_good(folder: Path) -> None:
    settings = make_settings(folder)
    async with relay(settings):
        refused = await tried(settings, secret=OTHER_SECRET)
        away = await tried(settings, port=free_port())
    assert isinstance(refused, Failure)
    assert isinstance(away, Failure)
    assert (refused.kind, away.kind) == (RelayFailure.UNAUTHORIZED, RelayFailure.REFUSED)


def test_every_range_that_agents_deny_and_that_matters_has_an_address_here() -> None:
    documentation = {"192.0.0.0", "192.0.2.0", "192.88.99.0", "198.51.100.0", "203.0.113.0", "100::", "2001::"}
    addresses = [ipaddress.ip_address(each) for each in FORBIDDEN]
    for text in DENIED:
        low, high = bounds(text)
        if str(low) not in documentation:
            assert any(low.version == each.version and int(low) <= int(each) <= int(high) for each in addresses), text


def test_a_relay_is_not_judged_by_its_own_address_nor_by_loopback_when_it_stands_there() -> None:
    public, private, loopback = judged("9.9.9.9"), judged("192.168.0.0"), judged("127.0.0.1")
    assert public == FORBIDDEN
    assert set(public) - set(private) == {"192.168.0.0"}
    assert set(public) - set(loopback) == {"127.0.0.1", "127.255.255.254"}
    assert set(public) - set(judged("::1")) == {"::1"}
