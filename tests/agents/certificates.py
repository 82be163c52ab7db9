"""Certificates of every kind, good and bad, made anew for a test."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Issued:
    """One certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def key_pem(self, password: bytes | None = None) -> str:
        protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection).decode()


def issue(
    *names: str,
    issuer: Issued | None = None,
    authority: bool = False,
    common_name: str = "test",
    begins_at: datetime.datetime = NOW - DAY,
    ends_at: datetime.datetime = NOW + 90 * DAY,
) -> Issued:
    """Self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins_at)
        .not_valid_after(ends_at)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
    return Issued(certificate=builder.sign(issuer.key if issuer else key, hashes.SHA256()), key=key)


ROOT = issue(authority=True, common_name="root")
MIDDLE = issue(authority=True, common_name="middle", issuer=ROOT)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where a relay's certificate, key and authority are."""

    certificate: Path
    key: Path
    authority: Path

    def put(self, own: Issued, *chain: Issued, key: Issued | None = None) -> None:
        """The way renewals go: one file after the other, here the key last."""
        self.certificate.write_text("".join(one.pem for one in (own, *chain)))
        self.key.write_text((key or own).key_pem())


def make_files(folder: Path, own: Issued, *chain: Issued) -> Files:
    files = Files(certificate=folder / "chain.pem", key=folder / "key.pem", authority=folder / "root.pem")
    files.authority.write_text(ROOT.pem)
    files.put(own, *chain)
    return files


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
