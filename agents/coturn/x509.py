"""The few fields of an X.509 certificate (RFC 5280 §4.1) that decide whether a client takes it. Pure: DER in, fields out.

The standard library shows a certificate's fields only after it has verified it, so never those of one that is out of date.
Signatures and trust are not looked at here: `agents.coturn.pair` leaves these to OpenSSL.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE, _OCTETS, _OID, _UTC_TIME, _GENERAL_TIME, _VERSION, _EXTENSIONS = 0x30, 0x04, 0x06, 0x17, 0x18, 0xA0, 0xA3
_ALTERNATIVE_NAMES = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17
_DNS_NAME, _ADDRESS = 0x82, 0x87
_LONGEST_LENGTH = 4
"""Bytes of a length: no certificate has gigabytes."""
_FIELDS = 6
"""Of the signed part: serial number, algorithm, issuer, validity, subject, key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    subject: bytes
    issuer: bytes
    """Both encoded: equal bytes are the same name."""
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    """Host names and addresses that it is for. Clients have ceased to look at the common name."""


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    whole: bytes
    content: bytes


def parse(der: bytes) -> Fields:
    """ValueError when it is no certificate."""
    try:
        return _parsed(der)
    except IndexError:
        raise ValueError("it ends too early") from None


def _parsed(der: bytes) -> Fields:
    signed = _elements(_only(_elements(der)[:1]))[0]
    fields = _elements(_only([signed]))
    if fields[0].tag == _VERSION:
        fields = fields[1:]
    if len(fields) < _FIELDS:
        raise ValueError("it has too few fields")
    first, last = _elements(_only([fields[3]]))
    extensions = [one for one in fields[_FIELDS:] if one.tag == _EXTENSIONS]
    return Fields(
        issuer=fields[2].whole,
        subject=fields[4].whole,
        not_before=_instant(first),
        not_after=_instant(last),
        names=tuple(name for one in extensions for name in _names(one.content)),
    )


def _elements(data: bytes) -> list[_Element]:
    found, at = [], 0
    while at < len(data):
        begin, tag, length = at, data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= _LONGEST_LENGTH:
                raise ValueError("it has a length that DER does not have")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("it ends too early")
        found.append(_Element(tag, data[begin : at + length], data[at : at + length]))
        at += length
    return found


def _only(elements: list[_Element]) -> bytes:
    """The content of the one element, which must be a sequence."""
    if len(elements) != 1 or elements[0].tag != _SEQUENCE:
        raise ValueError("it is no certificate")
    return elements[0].content


def _instant(element: _Element) -> datetime:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        # RFC 5280 §4.1.2.5.1: two digits are of 1950 to 2049.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag != _GENERAL_TIME:
        raise ValueError("it has no dates")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _names(extensions: bytes) -> list[str]:
    for extension in _elements(_only(_elements(extensions))):
        parts = _elements(_only([extension]))
        if parts[0].tag == _OID and parts[0].content == _ALTERNATIVE_NAMES and parts[-1].tag == _OCTETS:
            return [name for one in _elements(_only(_elements(parts[-1].content))) if (name := _name(one)) is not None]
    return []


def _name(element: _Element) -> str | None:
    if element.tag == _DNS_NAME:
        return element.content.decode("ascii")
    return str(ipaddress.ip_address(element.content)) if element.tag == _ADDRESS else None
