"""The gate before the databases: only a public unicast address can have a place.

Free databases hold junk for private and documentation ranges (ours puts 192.168.1.1 in Australia), and the C reader
accepts spellings such as `8.8.8` and `0x8.8.8.8`, so neither can be trusted to refuse. `ipaddress` answers the same
questions correctly, at several times the price of the look-up itself; a test holds this module to its answers.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

_SPECIAL_IPV4 = [
    IPv4Network("0.0.0.0/8"),  # this network, RFC 791 §3.2
    IPv4Network("10.0.0.0/8"),  # private, RFC 1918
    IPv4Network("100.64.0.0/10"),  # shared by carrier-grade NAT, RFC 6598
    IPv4Network("127.0.0.0/8"),  # loopback, RFC 1122 §3.2.1.3
    IPv4Network("169.254.0.0/16"),  # link-local, RFC 3927
    IPv4Network("172.16.0.0/12"),  # private, RFC 1918
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments, RFC 6890 §2.1
    IPv4Network("192.0.2.0/24"),  # documentation, RFC 5737
    IPv4Network("192.168.0.0/16"),  # private, RFC 1918
    IPv4Network("198.18.0.0/15"),  # benchmarking, RFC 2544
    IPv4Network("198.51.100.0/24"),  # documentation, RFC 5737
    IPv4Network("203.0.113.0/24"),  # documentation, RFC 5737
    IPv4Network("224.0.0.0/4"),  # multicast, RFC 5771
    IPv4Network("240.0.0.0/4"),  # reserved and broadcast, RFC 1112 §4
]

_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
"""::ffff:0:0/96, IPv4-mapped (RFC 4291 §2.5.5.2): what a dual-stack socket reports for an IPv4 peer."""

_GLOBAL_UNICAST = range(0x20, 0x40)
"""First bytes of 2000::/3, all the global unicast space there is (RFC 4291 §2.4). Loopback, fc00::/7, fe80::/10 and
ff00::/8 lie outside."""
_PROTOCOL_ASSIGNMENTS = range(0x02)
"""Third bytes of 2001::/23, IETF protocol assignments such as Teredo (RFC 2928)."""
_NEWER_DOCUMENTATION = range(0x10)
"""Third bytes of 3fff::/20, documentation (RFC 9637)."""


def _prefixes(length_bytes: int) -> frozenset[bytes]:
    """The special ranges that are best told by their first `length_bytes` bytes, spelt out."""
    bits = 8 * length_bytes
    return frozenset(
        subnet.network_address.packed[:length_bytes]
        for network in _SPECIAL_IPV4
        if bits - 8 < network.prefixlen <= bits
        for subnet in network.subnets(new_prefix=bits)
    )


_SPECIAL_BYTE, _SPECIAL_TWO_BYTES, _SPECIAL_THREE_BYTES = _prefixes(1), _prefixes(2), _prefixes(3)


def public_address(written: str) -> tuple[str, bool] | None:
    """The address as the database readers take it, and whether it is IPv6. None for junk and for non-public addresses.

    Spaces around it and a zone id are dropped, an IPv4-mapped address is unwrapped. Never raises.
    """
    text = written.strip()
    try:
        if ":" not in text:
            packed = inet_pton(AF_INET, text)
        else:
            if "%" in text:
                text, _, _ = text.partition("%")
            packed = inet_pton(AF_INET6, text)
            if not packed.startswith(_MAPPED_PREFIX):
                return (text, True) if _is_public_ipv6(packed) else None
            packed = packed[len(_MAPPED_PREFIX) :]
            text = inet_ntop(AF_INET, packed)
    except (OSError, ValueError):  # ValueError: NUL characters and unpaired surrogates.
        return None
    if packed[:1] in _SPECIAL_BYTE or packed[:2] in _SPECIAL_TWO_BYTES or packed[:3] in _SPECIAL_THREE_BYTES:
        return None
    return text, False


def _is_public_ipv6(packed: bytes) -> bool:
    first_two, third = packed[:2], packed[2]
    if first_two == b"\x20\x01":
        return third not in _PROTOCOL_ASSIGNMENTS and packed[2:4] != b"\x0d\xb8"  # 2001:db8::/32, RFC 3849
    if first_two == b"\x3f\xff":
        return third not in _NEWER_DOCUMENTATION
    return packed[0] in _GLOBAL_UNICAST
