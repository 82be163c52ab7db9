"""When the certificate of the TLS listener ends.

The standard library verifies certificates, and tells what is in one only over a connection that verified it. The end alone is
a few steps into the DER (RFC 5280 section 4.1), so it is read by hand.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

MOST_BYTES = 1_000_000
"""A chain is a few kilobytes."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


class CertificateEnd:
    """`look()` is for the disk's thread. A file that cannot be read keeps the last value: coturn goes on with what it has."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._failure = ""
        self.ends_at: float | None = None
        """Unix seconds. None without TLS, and until it was read."""

    def look(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                self.ends_at = ends_at(file.read(MOST_BYTES).decode("latin-1")).timestamp()
        except (OSError, ValueError) as error:
            if str(error) != self._failure:
                self._failure = str(error)
                log.warning("certificate_not_read", path=str(self._path), reason=str(error))
        else:
            self._failure = ""


def ends_at(pem: str) -> datetime:
    """Of the first certificate of a chain: the listener's own. ValueError when there is none, or it is no certificate."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("the file holds no certificate in PEM form")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(found.group()))
    except (ValueError, StopIteration, IndexError, OverflowError):
        raise ValueError("the certificate in the file cannot be read") from None


def _not_after(certificate: bytes) -> datetime:
    _, signed = next(_parts(certificate))
    _, to_be_signed = next(_parts(signed))
    fields = _parts(to_be_signed)
    tag, _ = next(fields)
    # [version] serialNumber signature issuer validity …
    for _ in range(3 if tag == _VERSION else 2):
        next(fields)
    tag, validity = next(fields)
    if tag != _SEQUENCE:
        raise ValueError
    _, (tag, end) = _parts(validity)
    text = end.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: 50 and above are of the last century (RFC 5280, 4.1.2.5.1).
        text = ("20" if text < "50" else "19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element. ValueError or IndexError when one is cut short."""
    at = 0
    while at < len(content):
        tag, size, at = content[at], content[at + 1], at + 2
        if size & 0x80:
            digits = size & 0x7F
            size, at = int.from_bytes(content[at : at + digits], "big"), at + digits
        if at + size > len(content):
            raise ValueError
        yield tag, content[at : at + size]
        at += size
