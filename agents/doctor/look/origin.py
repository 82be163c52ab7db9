"""One way to the control plane, a step at a time, so that the step that fails is known: name, connection, TLS, answer."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from agents import AGENT_VERSION
from agents.errors import SettingsError
from agents.link import trust

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 4.0
MOST_BYTES = 2**16
MOST_WORDS = 200
PATH = "/healthz"
_OK = 200

Step = Literal["name", "connection", "tls", "answer", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginFacts:
    origin: str
    step: Step
    """The one that failed; `done` when there was an answer."""
    error: Exception | None = None
    addresses: tuple[str, ...] = ()
    status: int = 0
    location: str = ""
    is_turnfleet: bool = False
    seconds: float = 0.0
    """How long the answer took."""
    clock_offset_seconds: float | None = None
    """This host's clock less the server's; None when it did not tell its own."""
    clock_error_seconds: float = 0.0
    """How far that may be wrong."""


def ask(origin: str, *, ca_file: Path | None) -> OriginFacts:
    parts = urlsplit(origin)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    step: Step = "name"
    addresses: tuple[str, ...] = ()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(one[4][0]) for one in found))
        step = "connection"
        with closing(_connected(addresses, port)) as plain:
            step = "tls"
            plain.settimeout(CONNECT_SECONDS)
            wire = trust((origin,), ca_file).wrap_socket(plain, server_hostname=host) if parts.scheme == "https" else plain
            with closing(wire):
                step = "answer"
                return _answered(origin, addresses, parts.netloc, wire)
    except (OSError, ValueError, http.client.HTTPException, SettingsError) as error:
        return OriginFacts(origin=origin, step=step, error=error, addresses=addresses)


def _connected(addresses: tuple[str, ...], port: int) -> socket.socket:
    """To the first that takes it, all together within the deadline."""
    failure: OSError = ConnectionRefusedError()
    ends_at = time.monotonic() + CONNECT_SECONDS
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=max(0.1, ends_at - time.monotonic()))
        except OSError as error:
            failure = error
    raise failure


def _answered(origin: str, addresses: tuple[str, ...], authority: str, wire: socket.socket) -> OriginFacts:
    wire.settimeout(ANSWER_SECONDS)
    connection = http.client.HTTPConnection(authority)
    connection.sock = wire
    asked_at, began = time.time(), time.monotonic()
    connection.request("GET", PATH, headers={"user-agent": f"turnfleet-agent/{AGENT_VERSION}", "connection": "close"})
    response = connection.getresponse()
    seconds = time.monotonic() - began
    body = response.read(MOST_BYTES)
    offset, error_seconds = _clock(response.getheader("date"), asked_at, seconds)
    return OriginFacts(
        origin=origin,
        step="done",
        addresses=addresses,
        status=response.status,
        location=(response.getheader("location") or "")[:MOST_WORDS],
        is_turnfleet=response.status == _OK and b'"alive"' in body,
        seconds=seconds,
        clock_offset_seconds=offset,
        clock_error_seconds=error_seconds,
    )


def _clock(date: str | None, asked_at: float, seconds: float) -> tuple[float | None, float]:
    """A Date header has whole seconds, cut off, and was made at some moment between question and answer."""
    try:
        told = parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None, 0.0
    return asked_at + seconds / 2 - (told + 0.5), 0.5 + seconds / 2
