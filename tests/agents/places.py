"""Places for the agent under test: a folder that coturn's user can enter, free ports, settings, a certificate."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.disk import Disk
from agents.settings import AgentSettings, from_environment
from controlplane.wire.redacted import Redacted
from deploy.local.ports import TEST_STEP, reserve_ports

LOOPBACK = "127.0.0.1"
REALM = "test.example"
DISK = Disk()
"""For every test: work that hangs in it fails them all, as it would the agent."""
SECRET = Redacted("a" * 43)
OTHER_SECRET = Redacted("b" * 43)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Unlike pytest's own, one that another user can enter."""
    path = Path(tempfile.mkdtemp(prefix="turnfleet-agent-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _ports() -> Iterator[int]:
    while True:
        block = reserve_ports(TEST_STEP)  # until this process ends
        yield from range(block.base, block.base + block.count)


_given = _ports()


def free_port() -> int:
    """Free for UDP and TCP, and another one each time, whichever test process asks."""
    return next(_given)


def make_settings(folder: Path, *, url: str = "http://127.0.0.1:9", tls: bool = False, **changes: object) -> AgentSettings:
    """Complete settings on loopback; a test sets only what it is about."""
    port = free_port()
    # A hundred ports that other coturns of tests running at the same time hardly ever share.
    first_relay_port = 5000 + port % 100 * 100
    base = from_environment(
        {
            "TURNFLEET_AGENT_URL": url,
            "TURNFLEET_AGENT_NAME": "relay-1",
            "TURNFLEET_AGENT_JOIN_TOKEN": "tfj_test_token",
            "TURNFLEET_AGENT_STATE_DIR": str(folder / "state"),
            "TURNFLEET_AGENT_LISTEN_ADDRESS": LOOPBACK,
            "TURNFLEET_AGENT_ALLOW_LOOPBACK_PEERS": "true",
            "TURNFLEET_AGENT_PORT": str(port),
            "TURNFLEET_AGENT_CLI_PORT": str(free_port()),
            "TURNFLEET_AGENT_RELAY_PORTS": f"{first_relay_port}-{first_relay_port + 99}",
            "TURNFLEET_AGENT_RELAY_THREADS": "1",
            "TURNFLEET_AGENT_PROBE_INTERVAL_SECONDS": "0.3",
        },
        default_address=lambda: None,
        default_interface=lambda _: None,
        interfaces=lambda: None,
    )
    if tls:
        certificate, key = write_certificate(folder, name="relay.test")
        base = replace(base, tls_cert=certificate, tls_key=key, tls_port=free_port(), ca_file=certificate, public_host="relay.test")
    return replace(base, **changes)  # type: ignore[arg-type]


def write_certificate(folder: Path, *, name: str) -> tuple[Path, Path]:
    """A self-signed certificate, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o644)
    return certificate_path, key_path


async def eventually(condition: Callable[[], bool], *, what: str, seconds: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds} s: {what}")
        await asyncio.sleep(0.01)
