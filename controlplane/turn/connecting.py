"""From a listener to a connection: look up its name, try its addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import suppress

from controlplane.turn.client import TurnClient, TurnError
from controlplane.turn.names import names
from controlplane.turn.target import Target

RELEASE_SECONDS = 0.5
"""A release that is not confirmed: coturn ends the allocation by itself."""
_MOST_ADDRESSES = 4
"""Of a name that are tried, one after the other."""


async def look_up(target: Target) -> list[str]:
    """Its addresses, those first that this machine reaches best. Raises socket.gaierror."""
    if _is_literal(target.address):
        return [target.address]
    return (await names.look_up(target.address))[:_MOST_ADDRESSES]


def _is_literal(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def connect(client: TurnClient, target: Target, addresses: list[str], context: ssl.SSLContext | None) -> None:
    """Connects to the first of the addresses that takes it. Raises OSError, of which ssl.SSLError is one.

    A certificate that is not good at one address ends it: clients would stop there, too. Has no deadline of its own.
    """
    first: OSError | None = None
    for address in addresses:
        try:
            await _connect_to(client, target, address, context)
        except ssl.SSLError:
            raise
        except OSError as error:
            first = first or error
        else:
            return
    raise first or socket.gaierror(socket.EAI_NODATA, "the name has no address")


async def _connect_to(client: TurnClient, target: Target, address: str, context: ssl.SSLContext | None) -> None:
    if target.transport == "udp":
        await client.connect_udp(address, target.port)
    elif target.transport == "tcp":
        await client.connect_tcp(address, target.port)
    elif context is not None:
        await client.connect_tls(address, target.port, context=context, server_name=target.server_name)
    else:
        raise ssl.SSLError(0, "no certificates to verify with")


async def give_back(client: TurnClient) -> None:
    """Releases the allocation, if the server still answers."""
    with suppress(TimeoutError, OSError, TurnError):
        async with asyncio.timeout(RELEASE_SECONDS):
            await client.release()
