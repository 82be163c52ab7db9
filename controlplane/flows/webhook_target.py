"""A webhook's target: whether it may be connected to at all.

Targets are named by tenants, so they could name what only this host reaches. The name is resolved here, and every answer must be
a public address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Address, IPv6Network

import httpx

from controlplane.geoip.public_address import public_address

DEADLINE_SECONDS = 10.0
"""Of one attempt in all: name, connection, TLS, request, answer."""
_LAST_PORT = 65_535
_RESOLVER_THREADS = 64
"""A name server that does not answer keeps a thread for some 30 s, whatever our deadline: hence a pool of their own."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: an IPv4 address in the last 32 bits, reached through a translator."""

Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → addresses. Raises OSError when there are none."""


class TargetRefusedError(Exception):
    """The target is none that we connect to. The text is a sentence for its owner; it names no address behind a name."""


def is_public(address: str) -> bool:
    """Whether it is an address anybody may be sent to. An IPv4 address inside an IPv6 one is judged like itself."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(parsed.packed[-4:])))
        if parsed.sixtofour is not None:
            return False  # 2002::/16, retired by RFC 7526: nobody is reached through it any more
    return public_address(str(parsed)) is not None


def parse_target(url: str) -> httpx.URL:
    """The address of a target as it is connected to. Raises TargetRefusedError with what is wrong with it."""
    try:
        parsed = httpx.URL(url)
        port = parsed.port
    except (httpx.InvalidURL, ValueError):  # ValueError: unpaired surrogates, addresses that are none
        raise TargetRefusedError("It is no URL.") from None
    if parsed.scheme not in {"https", "http"} or not parsed.host:
        raise TargetRefusedError("It must be a URL that begins with https://.")
    if parsed.userinfo:
        raise TargetRefusedError("It must hold no user name and no password.")
    if port is not None and not 1 <= port <= _LAST_PORT:
        raise TargetRefusedError(f"Its port must be from 1 to {_LAST_PORT}.")
    return parsed


async def _resolve(pool: ThreadPoolExecutor, host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().run_in_executor(pool, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Targets:
    """What may be connected to, and how. One per process; `close` it."""

    def __init__(self, private: Sequence[Network], *, resolve: Resolve | None = None, verify: ssl.SSLContext | None = None) -> None:
        """`private`: networks that are connected to although they are not public, and without TLS if the URL says so."""
        self._private = tuple(private)
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="webhook-names")
        self._resolve: Resolve = resolve or (lambda host, port: _resolve(self._threads, host, port))
        self.verify = verify or httpx.create_ssl_context(trust_env=False)
        """What their certificates are judged by."""

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def check(self, url: str) -> None:
        """Whether it may be a target now. Raises TargetRefusedError with a sentence, also for a name that is not found."""
        parsed = parse_target(url)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self.addresses(parsed)
        except TimeoutError:
            raise TargetRefusedError(f"The name {parsed.host} could not be resolved in time.") from None

    async def addresses(self, url: httpx.URL) -> list[str]:
        """Addresses of the host, every one of them checked. Raises TargetRefusedError."""
        host = url.raw_host.decode("ascii")
        try:
            found = await self._resolve(host, url.port or (443 if url.scheme == "https" else 80))
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise TargetRefusedError(f"The name {url.host} is not found.")
        if not all(self._is_private(address) or is_public(address) for address in found):
            raise TargetRefusedError(
                f"{url.host} has an address that is not public (private, loopback, link-local or reserved): "
                "whoever runs this service can allow it with TURNFLEET_WEBHOOK_PRIVATE_TARGETS."
            )
        if url.scheme != "https" and not all(self._is_private(address) for address in found):
            raise TargetRefusedError("It must be a URL that begins with https://.")
        return list(found)

    def _is_private(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
        return any(parsed in network for network in self._private)
