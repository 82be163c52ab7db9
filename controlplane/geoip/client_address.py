"""Which address a request speaks for: what `X-TURN-CLIENT-IP` says, else the peer's."""

from __future__ import annotations

import ipaddress
from socket import AF_INET, inet_pton

MAXIMUM_ADDRESS_CHARACTERS = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
"""The longest text of an address (INET6_ADDRSTRLEN of RFC 3493 §6.6, less its NUL). Anything longer is junk, unread."""

_MAXIMUM_PORT_DIGITS = 5


def client_address(header_value: str | None, peer: str | None) -> str | None:
    """The client's address as canonical text, or None where neither argument is an address. Never raises.

    The header's first list element counts. Around the address, spaces, `[...]`, `:port` and a zone id are dropped; an
    IPv4-mapped IPv6 address becomes the IPv4 address it stands for. A header that is absent or junk leaves `peer`, which
    is read in the same way. Private addresses are addresses: what they are worth is for the reader to say.
    Whether a peer may be believed to be a proxy is decided before, by the caller.
    """
    if header_value is not None:
        element, _, _ = header_value.partition(",")
        address = _canonical(element)
        if address is not None:
            return address
    return None if peer is None else _canonical(peer)


def _canonical(written: str) -> str | None:
    bare = _without_zone(_without_port(written.strip()))
    if not bare or len(bare) > MAXIMUM_ADDRESS_CHARACTERS:
        return None
    try:
        inet_pton(AF_INET, bare)  # most addresses, and many times faster; it takes nothing but canonical text
    except (OSError, ValueError):
        pass
    else:
        return bare
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _without_port(written: str) -> str:
    """`[v6]`, `[v6]:port` and `v4:port` without their trimmings. Empty where brackets or port are malformed."""
    if written.startswith("["):
        inner, closed, after = written[1:].partition("]")
        return inner if closed and ":" in inner and (not after or _is_port(after)) else ""
    # Two colons or more without brackets are an IPv6 address; a port cannot be told from its last group.
    if written.count(":") == 1:
        host, colon, port = written.partition(":")
        return host if _is_port(colon + port) else ""
    return written


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and len(digits) <= _MAXIMUM_PORT_DIGITS and digits.isascii() and digits.isdecimal()


def _without_zone(written: str) -> str:
    """A zone id (RFC 4007 §11) names an interface of the host that wrote it, and means nothing here."""
    if ":" not in written:
        return written
    bare, _, _ = written.partition("%")
    return bare
