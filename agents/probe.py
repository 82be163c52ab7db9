"""Is the relay good for a client? One real Allocate and one echoed packet through one of its own listeners, told in words."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents.turn_client import TurnClient, TurnError
from controlplane.wire.agent_api import ListenerProbe, Transport
from controlplane.wire.redacted import Redacted

DEADLINE_SECONDS = 2.0
RELEASE_SECONDS = 0.5
"""A release that is not confirmed: coturn ends the allocation by itself."""
CREDENTIAL_SECONDS = 30
_OWN_USERNAME = re.compile(r"[0-9]+:probe-[0-9a-f]{12}", re.ASCII)
_MOST_WORDS = 200

_MEANING = {
    400: "400: coturn did not understand the request",
    401: "401: coturn does not accept the newest loaded secret",
    403: "403: coturn forbids the echo as a peer",
    437: "437: coturn lost the allocation",
    486: "486: an allocation quota is reached",
    508: "508: coturn has no relay port left",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One listener, and how to reach it from here."""

    transport: Transport
    address: str
    port: int
    server_name: str
    """What its certificate must be for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoPeer:
    address: tuple[str, int]
    tag: bytes


def credential(secret: Redacted, *, now: float) -> tuple[str, Redacted]:
    """A TURN REST credential of the node's own, good for half a minute."""
    username = f"{int(now) + CREDENTIAL_SECONDS}:probe-{secrets.token_hex(6)}"
    mac = hmac.new(secret.reveal().encode(), username.encode(), hashlib.sha1).digest()
    return username, Redacted(base64.b64encode(mac).decode())


def is_probe(username: str) -> bool:
    """Whether an allocation is one of credential()'s: nobody's use of the relay but our own."""
    return _OWN_USERNAME.fullmatch(username) is not None


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """What a client would verify the listener's certificate with: the system's authorities, and the operator's own beside them."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context


async def probe(
    target: Target, *, secret: Redacted, echo: EchoPeer, context: ssl.SSLContext | None, deadline_seconds: float = DEADLINE_SECONDS
) -> ListenerProbe:
    """Never raises for what a relay can do wrong."""
    username, password = credential(secret, now=time.time())
    client = TurnClient(username=username, password=password)
    began = time.perf_counter()
    step = "connect"
    try:
        async with asyncio.timeout(deadline_seconds):
            await _connect(client, target, context)
            step = "allocate"
            await client.allocate()
            step = "bind"
            await client.bind(echo.address)
            step = "echo"
            await client.exchange(echo.tag + secrets.token_bytes(8))
        took = (time.perf_counter() - began) * 1000
        with suppress(TimeoutError, OSError, TurnError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await client.release()
        return ListenerProbe(transport=target.transport, ok=True, milliseconds=round(took, 3))
    except (TimeoutError, OSError, TurnError) as error:
        words = in_words(error, step=step, deadline_seconds=deadline_seconds)
        return ListenerProbe(transport=target.transport, ok=False, failure=words[:_MOST_WORDS])
    finally:
        client.close()


def in_words(error: Exception, *, step: str, deadline_seconds: float) -> str:
    match error:
        case TurnError(code=code):
            return _MEANING.get(code, f"{code}: coturn refused to {step}")
        case ssl.SSLCertVerificationError():
            return f"TLS: {error.verify_message or 'the certificate cannot be verified'}"
        case ssl.SSLError():
            return f"TLS: {error.reason or 'the handshake failed'}"
        case TimeoutError() if step == "echo":
            return f"no echo within {deadline_seconds:g} s"
        case TimeoutError():
            return f"no answer within {deadline_seconds:g} s"
        case ConnectionRefusedError():
            return "refused: nothing listens there"
        case OSError():
            return f"{step}: {error.strerror or str(error) or 'the connection was closed'}"
        case _:
            return f"{step}: {type(error).__name__}"


async def _connect(client: TurnClient, target: Target, context: ssl.SSLContext | None) -> None:
    if target.transport == "udp":
        await client.connect_udp(target.address, target.port)
    elif target.transport == "tcp":
        await client.connect_tcp(target.address, target.port)
    elif context is not None:
        await client.connect_tls(target.address, target.port, context=context, server_name=target.server_name)
    else:
        raise ssl.SSLError(0, "no certificates to verify with")
