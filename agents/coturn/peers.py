"""Which peers clients may never relay to, as coturn understands it.

Only `first-last` ranges and single addresses work: 4.6.1 takes the CIDR form, logs nothing and denies nothing, and newer
versions refuse to start. A relay without these is a tool into the provider's own network (169.254.169.254 and the like).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOPBACK = "127.0.0.0-127.255.255.255"

DENIED: tuple[str, ...] = (
    "0.0.0.0-0.255.255.255",
    "10.0.0.0-10.255.255.255",
    "100.64.0.0-100.127.255.255",
    LOOPBACK,
    "169.254.0.0-169.254.255.255",
    "172.16.0.0-172.31.255.255",
    "192.0.0.0-192.0.0.255",
    "192.0.2.0-192.0.2.255",
    "192.88.99.0-192.88.99.255",
    "192.168.0.0-192.168.255.255",
    "198.18.0.0-198.19.255.255",
    "198.51.100.0-198.51.100.255",
    "203.0.113.0-203.0.113.255",
    "240.0.0.0-255.255.255.255",
    "::1",
    "64:ff9b::-64:ff9b::ffff:ffff",
    "::ffff:0.0.0.0-::ffff:255.255.255.255",
    "100::-100::ffff:ffff:ffff:ffff",
    "2001::-2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2002::-2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
)
"""The special-purpose address registries of IANA (RFC 6890), and the IPv6 forms that hide an IPv4 address."""


def denied(*, allow_loopback: bool, also: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The ranges to render. `also` are further addresses and ranges: of this host, and what its operator names."""
    ranges = tuple(one for one in DENIED if not (allow_loopback and one == LOOPBACK))
    for one in (*ranges, *also):
        lint(one)
    return ranges + also


def needed(addresses: Iterable[str]) -> tuple[str, ...]:
    """Those that no range of DENIED has already: a host has many link-local and private addresses, and they come and go."""
    return tuple(one for one in addresses if not any(_holds(each, one) for each in DENIED))


def lint(text: str) -> None:
    """Raises ValueError for anything that coturn would take and not honour."""
    bounds(text)


def bounds(text: str) -> tuple[IPAddress, IPAddress]:
    """First and last address of a range, or one address twice; ValueError like lint()."""
    if "/" in text:
        raise ValueError(f"{text!r} is a CIDR block, which coturn 4.6.1 silently ignores: write it as first-last.")
    first, dash, last = text.partition("-")
    low = ipaddress.ip_address(first)
    high = ipaddress.ip_address(last) if dash else low
    if low.version != high.version or int(low) > int(high):
        raise ValueError(f"{text!r} is not a range from a lower to a higher address of one IP version.")
    return low, high


def _holds(range_text: str, address: str) -> bool:
    low, high = bounds(range_text)
    one = ipaddress.ip_address(address)
    return one.version == low.version and int(low) <= int(one) <= int(high)
