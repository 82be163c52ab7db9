"""The TLS certificate and key as they lie on disk, and what a client would say to them.

OpenSSL itself is asked: a handshake in memory with the same name and authorities that a client has. Nothing is sent.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.coturn import x509
from agents.coturn.x509 import Fields
from controlplane.turn.trust import trust

MOST_BYTES = 2**20
"""Of a file: a chain has some ten kilobytes."""
MOST_CERTIFICATES = 20
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# X509_V_ERR_* of openssl/x509_vfy.h
_DATES = {9, 10}
_NAMES = {62, 64}
_MOST_ROUNDS = 10
"""A handshake needs three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What was found when it was read."""

    unusable: str | None = None
    """Why this is no certificate with its key at all, as a sentence; the rest is then unknown."""
    chain: tuple[Fields, ...] = ()
    """The node's own certificate first."""
    mismatch: str | None = None
    """OpenSSL's words when it is not for the public name."""
    distrust: str | None = None
    """OpenSSL's words when no authority vouches for it; its own dates do not count here."""


def read(certificate: Path, key: Path, *, name: str, ca_file: Path | None) -> Pair:
    """Never raises for what files can hold. `name` is what clients connect to."""
    try:
        chain = _chain(_text(certificate), certificate)
        server = _server(certificate, key)
    except (OSError, ValueError) as error:
        return Pair(unusable=str(error))
    return Pair(chain=chain, mismatch=_mismatch(server, certificate, name), distrust=_distrust(server, ca_file, chain[0]))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}.") from None


def _chain(text: str, path: Path) -> tuple[Fields, ...]:
    blocks = _BLOCK.findall(text)[:MOST_CERTIFICATES]
    if not blocks:
        raise ValueError(f"{path} holds no certificate in PEM form.")
    found = []
    for number, block in enumerate(blocks, start=1):
        try:
            found.append(x509.parse(ssl.PEM_cert_to_DER_cert(block)))
        except ValueError as error:
            raise ValueError(f"Certificate {number} in {path} cannot be read: {error}.") from None
    return tuple(found)


def _server(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server as coturn is one. OSError with a whole sentence when the key is not the certificate's."""
    text = _text(key)
    if "PRIVATE KEY-----" not in text:
        raise ValueError(f"{key} holds no private key in PEM form.")
    if "ENCRYPTED" in text:
        raise ValueError(f"The key in {key} is encrypted, and coturn is given no password: write it there unencrypted.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Never the terminal: without this OpenSSL would ask there.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise OSError(
                f"The key in {key} is not that of the first certificate in {certificate}: both must be of the same renewal, "
                "and the node's own certificate must come before those of authorities."
            ) from None
        raise OSError(f"OpenSSL refuses {certificate} with {key}: {error.reason or error}.") from None
    return context


def _mismatch(server: ssl.SSLContext, certificate: Path, name: str) -> str | None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Browsers do not look at it any more.
    client.hostname_checks_common_name = False
    try:
        # Trusting what is served, whoever issued it, leaves the name.
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(cafile=certificate)
        error = _handshake(server, client, name)
    except OSError:
        # _distrust() meets the same, and tells it.
        return None
    except ValueError:
        return f"{name!r} is no name that a certificate can be for"
    return error.verify_message if error is not None and error.verify_code in _NAMES else None


def _distrust(server: ssl.SSLContext, ca_file: Path | None, own: Fields) -> str | None:
    try:
        client = trust(ca_file)
        client.check_hostname = False
        error = _handshake(server, client, None)
    except OSError as failure:
        return str(failure.strerror or failure)
    if error is None or (error.verify_code in _DATES and _out_of_date(own)):
        return None
    return error.verify_message


def _out_of_date(own: Fields) -> bool:
    return not own.not_before <= datetime.now(UTC) < own.not_after


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> ssl.SSLCertVerificationError | None:
    """The client's objection, or None when it has none. OSError when they do not understand each other at all."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asked = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(_MOST_ROUNDS):
        try:
            asking.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error
        else:
            return None
        with suppress(ssl.SSLWantReadError):
            asked.do_handshake()
    raise OSError("The handshake has no end.")
