"""A private certificate authority and one server certificate for loopback, so that `turns:` is tried locally, too."""

import datetime
import grp
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.files import make_folder, write_whole
from deploy.local.ports import HOST

__all__ = ["Certificates", "ensure_certificates"]

LIFETIME = datetime.timedelta(days=365)
# Renewed by the next `up` well before a long-running stack would see it expire.
RENEW_BEFORE = datetime.timedelta(days=60)
CLOCK_SKEW = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    authority: Path
    certificate: Path
    key: Path


def ensure_certificates(folder: Path) -> Certificates:
    """Makes them when they are missing or near their end. The authority's own key is not kept: nobody else can be certified."""
    files = Certificates(authority=folder / "ca.pem", certificate=folder / "cert.pem", key=folder / "key.pem")
    now = datetime.datetime.now(datetime.UTC)
    if _are_good(files, now):
        return files
    make_folder(folder)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "turnfleet development authority")])
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    certificate = (
        _builder(subject, issuer, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    write_whole(files.key, _pem_of_key(key), mode=0o600)
    _let_coturn_read(files.key)
    write_whole(files.authority, authority.public_bytes(serialization.Encoding.PEM), mode=0o644)
    write_whole(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return files


def _are_good(files: Certificates, now: datetime.datetime) -> bool:
    try:
        certificates = [x509.load_pem_x509_certificate(file.read_bytes()) for file in (files.authority, files.certificate)]
        certificates[1].verify_directly_issued_by(certificates[0])
    except Exception:  # Whatever is wrong with them: new ones cost nothing.
        return False
    return files.key.exists() and all(one.not_valid_after_utc - now > RENEW_BEFORE for one in certificates)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - CLOCK_SKEW,
        not_valid_after=now + LIFETIME,
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _let_coturn_read(key: Path) -> None:
    """As root, coturn gives up its rights before it reads the key again at a reload."""
    if os.geteuid() != 0:
        return
    try:
        group = grp.getgrnam("turnserver").gr_gid
    except KeyError:
        return
    os.chown(key, 0, group)
    key.chmod(0o640)
