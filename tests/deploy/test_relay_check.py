"""The proof that a relay relays, against a real coturn with the certificate that local stacks use."""

import asyncio
import base64
import hashlib
import hmac
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from deploy.local.certificates import Certificates, ensure_certificates
from deploy.local.ports import HOST, NodePorts, PortPlan, reserve_ports
from deploy.local.process import Program
from deploy.local.relay_check import RelayFailed, TurnServer, check_relay, turn_servers
from deploy.local.service import Service
from tests.deploy.programs import DEADLINE, until

SECRET = "of this test alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coturn:
    ports: NodePorts
    certificates: Certificates

    def server(self, scheme: str, port: int, transport: str, *, secret: str = SECRET) -> TurnServer:
        username = f"{int(time.time()) + 60}:check"
        digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
        url = f"{scheme}:{HOST}:{port}?transport={transport}"
        return TurnServer(url=url, username=username, credential=base64.b64encode(digest).decode())


@pytest.fixture
async def coturn() -> AsyncIterator[Coturn]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-coturn-") as name, reserve_ports(240) as reserved:
        folder = Path(name)
        folder.chmod(0o755)  # noqa: ASYNC240
        ports = PortPlan(base=reserved.base, node_count=1).node(0)
        certificates = ensure_certificates(folder / "tls")
        options = {
            "listening-ip": HOST,
            "relay-ip": HOST,
            "listening-port": ports.turn,
            "tls-listening-port": ports.tls,
            "min-port": ports.relay_first,
            "max-port": ports.relay_last,
            "cli-port": ports.cli,
            "cli-password": "unused",
            "realm": "test",
            "static-auth-secret": SECRET,
            "userdb": folder / "turndb",
            "cert": certificates.certificate,
            "pkey": certificates.key,
            "pidfile": folder / "turn.pid",
            "log-file": "stdout",
        }
        flags = ["use-auth-secret", "allow-loopback-peers", "fingerprint"]
        (folder / "turnserver.conf").write_text("\n".join([*flags, *(f"{key}={value}" for key, value in options.items())]))
        binary = shutil.which("turnserver", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
        assert binary is not None
        arguments = (binary, "-c", str(folder / "turnserver.conf"))
        program = Program(name="coturn", arguments=arguments, log_file=folder / "log", directory=folder)

        async def accepts() -> bool:
            _, writer = await asyncio.open_connection(HOST, ports.turn)
            writer.close()
            await writer.wait_closed()
            return True

        service = Service(lambda: program, ready=accepts, ready_deadline=DEADLINE)
        await service.start()
        try:
            yield Coturn(ports=ports, certificates=certificates)
        finally:
            await service.stop()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_packet_comes_back_through_the_relay(coturn: Coturn, transport: str) -> None:
    check = await check_relay(coturn.server("turn", coturn.ports.turn, transport))
    assert coturn.ports.relay_first <= check.relayed_address[1] <= coturn.ports.relay_last
    assert check.echo_milliseconds > 0


async def test_tls_is_verified_against_the_private_authority(coturn: Coturn) -> None:
    server = coturn.server("turns", coturn.ports.tls, "tcp")
    await check_relay(server, context=ssl.create_default_context(cafile=str(coturn.certificates.authority)))
    with pytest.raises(RelayFailed, match="CERTIFICATE_VERIFY_FAILED"):
        await check_relay(server)


@pytest.mark.parametrize(("scheme", "transport"), [("turn", "udp"), ("turn", "tcp"), ("turns", "tcp")], ids=["udp", "tcp", "tls"])
async def test_a_wrong_secret_is_refused_and_no_socket_is_left(coturn: Coturn, scheme: str, transport: str) -> None:
    context = ssl.create_default_context(cafile=str(coturn.certificates.authority))
    port = coturn.ports.tls if scheme == "turns" else coturn.ports.turn
    open_before = psutil.Process().num_fds()
    with pytest.raises(RelayFailed, match="401"):
        await check_relay(coturn.server(scheme, port, transport, secret="guessed"), context=context)
    await until(lambda: psutil.Process().num_fds() <= open_before)


async def test_silence_fails_at_the_deadline() -> None:
    with reserve_ports() as ports:
        server = TurnServer(url=f"turn:{HOST}:{ports.base}?transport=udp", username="u", credential="c")
        with pytest.raises(RelayFailed, match="no answer to Allocate within 0 s"):
            await check_relay(server, deadline=timedelta(milliseconds=300))


def test_turn_urls_are_read_in_their_order() -> None:
    urls = ["turn:a:1?transport=udp", "turns:a:2?transport=tcp"]
    servers = turn_servers([{"urls": ["stun:a:1"]}, {"urls": urls, "username": "u", "credential": "c"}])
    assert [server.url for server in servers] == urls


def test_certificates_are_kept_while_they_are_good(tmp_path: Path) -> None:
    first = ensure_certificates(tmp_path).certificate.read_bytes()
    assert ensure_certificates(tmp_path).certificate.read_bytes() == first
    (tmp_path / "cert.pem").write_bytes(b"damaged")
    assert ensure_certificates(tmp_path).certificate.read_bytes() != first
