"""Servers on loopback that do one thing wrong each."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from aioice import stun
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.turn.target import Target
from controlplane.wire.agent_api import Transport
from tests.agents.places import LOOPBACK

Answer = Callable[[stun.Message], bytes | None]
"""To a request; None: silence."""


def at(port: int, transport: Transport = "udp", *, name: str = LOOPBACK) -> Target:
    return Target(transport=transport, address=LOOPBACK, port=port, server_name=name)


class _Stun(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[0] & 0xC0 == 0 and (answer := self._answer(stun.parse_message(data))) is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def stun_server(answer: Answer) -> AsyncIterator[Target]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Stun(answer), local_addr=(LOOPBACK, 0))
    try:
        yield at(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


def reply(request: stun.Message, **attributes: object) -> bytes:
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    kind = stun.Class.ERROR if "ERROR-CODE" in named else stun.Class.RESPONSE
    return bytes(stun.Message(request.message_method, kind, request.transaction_id, named))


def refusing(method: stun.Method, code: int) -> Answer:
    """Grants everything but this."""

    def answer(request: stun.Message) -> bytes:
        if request.message_method == method:
            return reply(request, ERROR_CODE=(code, ""))
        return reply(request, XOR_RELAYED_ADDRESS=(LOOPBACK, 9), LIFETIME=600)

    return answer


@asynccontextmanager
async def stream_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None], *, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """`serve` is called for each connection, which is left open until the end."""
    writers = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        serve(reader, writer)

    server = await asyncio.start_server(connected, LOOPBACK, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes connections and says nothing."""


def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")


def certificate(folder: Path, *, name: str = "relay.test", begins_in_days: float = -1, ends_in_days: float = 1) -> Path:
    """A self-signed certificate with its key in one PEM file, for that name and loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins_in_days))
        .not_valid_after(now + datetime.timedelta(days=ends_in_days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "own.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def serving(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
