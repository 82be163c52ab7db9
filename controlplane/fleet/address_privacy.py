"""How much of a client's address is kept. Addresses are personal data; each project says what it wants."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

AddressPolicy = Literal["keep", "truncate", "drop"]

_ZEROED_BITS_4 = 8
_ZEROED_BITS_6 = 80
"""A /24 of IPv4 and a /48 of IPv6 stay. No standard says so: it is what the address masking of Google Analytics keeps
(support.google.com/analytics/answer/2763052: the last octet, the last 80 bits), the most common practice."""


def kept_address(address: str | None, policy: str) -> str | None:
    """What may be recorded of an address under an AddressPolicy. Text that is no address is kept under `keep` alone.

    An IPv4-mapped IPv6 address is truncated as the IPv4 address it stands for.
    """
    if policy == "keep" or address is None:
        return address
    if policy != "truncate":
        return None
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if isinstance(parsed, IPv4Address):
        return str(IPv4Address(int(parsed) >> _ZEROED_BITS_4 << _ZEROED_BITS_4))
    return str(IPv6Address(int(parsed) >> _ZEROED_BITS_6 << _ZEROED_BITS_6))
