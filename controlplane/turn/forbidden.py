"""Peers that no relay may reach for a client, and whether one does: it would be a way into its network."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controlplane.turn.client import CHANNEL, IPV6, CredentialPair, TurnClient, TurnError
from controlplane.turn.connecting import connect, give_back, look_up
from controlplane.turn.failures import Failure, failure_of
from controlplane.turn.target import Target

DEADLINE_SECONDS = 5.0

FORBIDDEN: tuple[str, ...] = (
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.1",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "169.254.1.1",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "240.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
)
"""Of each range that is nobody's business (RFC 6890): loopback, private and shared networks, link-local, the metadata services of
clouds (169.254.169.254, fd00:ec2::254), and IPv6 forms that hide an IPv4 address. Of private networks the ends, which no host has:
a relay behind a NAT has a private address itself, and permits it."""
_PEER_PORT = 9
"""Discard. Nothing is sent there: the permission is the proof."""
_FORBIDDEN = 403
_OUT_OF_REACH = {440, 443}
"""RFC 8656 §18.13: no relay of that family, or a peer of another one. Such a peer is out of reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersTried:
    permitted: tuple[str, ...]
    refused: tuple[str, ...]


def judged(relay_address: str) -> tuple[str, ...]:
    """Those of FORBIDDEN that a relay at this address has to refuse.

    Not its own address, which its clients reach each other by, nor loopback when it stands there itself: such a relay serves
    its own machine alone, and loopback is its network.
    """
    own = ipaddress.ip_address(relay_address)
    return tuple(
        each
        for each in FORBIDDEN
        if (peer := ipaddress.ip_address(each)) != own
        and not (own.is_loopback and peer.is_loopback and peer.version == own.version)
    )


async def try_forbidden_peers(
    target: Target,
    *,
    credential: Callable[[], CredentialPair],
    context: ssl.SSLContext | None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> PeersTried | Failure:
    """Ask for a permission and for a channel to each. A failure: it could not be tried. Never raises for what a relay can do.

    Also by an allocation with an IPv6 relay address, where the relay has one: 4.6.1 is known to let IPv4-mapped peers pass there.
    `credential` is asked for each allocation: two of one may be one too many for a quota.
    """
    permitted: set[str] = set()
    tried: set[str] = set()
    try:
        async with asyncio.timeout(deadline_seconds):
            for family in (None, IPV6):
                await _try_family(TurnClient.of(credential()), target, context, family, permitted, tried)
    except (TimeoutError, OSError, TurnError) as error:
        if not permitted:
            return failure_of(error, step="bind" if tried else "allocate", deadline_seconds=deadline_seconds)
    return PeersTried(
        permitted=tuple(each for each in FORBIDDEN if each in permitted),
        refused=tuple(each for each in FORBIDDEN if each in tried - permitted),
    )


async def _try_family(
    client: TurnClient,
    target: Target,
    context: ssl.SSLContext | None,
    family: int | None,
    permitted: set[str],
    tried: set[str],
) -> None:
    try:
        await connect(client, target, await look_up(target), context)
        try:
            relay_address, _ = await client.allocate(family=family)
        except TurnError as error:
            if family is not None and error.code in _OUT_OF_REACH:
                return
            raise
        peers = judged(relay_address)
        await _ask_all(client, peers, permitted)
        tried.update(peers)
        await give_back(client)
    finally:
        client.close()


async def _ask_all(client: TurnClient, peers: tuple[str, ...], permitted: set[str]) -> None:
    """All at once: one after the other, a relay far away would take seconds."""

    async def ask(number: int, peer: str) -> None:
        address = (peer, _PEER_PORT)
        if await _granted(client.permit(address)) or await _granted(client.bind(address, channel=CHANNEL + 1 + number)):
            permitted.add(peer)

    answers = await asyncio.gather(*(ask(*each) for each in enumerate(peers)), return_exceptions=True)
    for answer in answers:
        if answer is not None:
            raise answer


async def _granted(asked: Awaitable[None]) -> bool:
    """Only a refusal of the peer itself is one: an allocation that is gone says nothing."""
    try:
        await asked
    except TurnError as error:
        if error.code in _OUT_OF_REACH | {_FORBIDDEN}:
            return False
        raise
    return True
