"""Which address a STUN server outside sees this host come from (RFC 8489, Binding)."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from dataclasses import dataclass

from aioice import stun

DEADLINE_SECONDS = 3.0
FIRST_RETRANSMIT_SECONDS = 0.2
"""Doubled each time: packets get lost."""
_MOST_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What the server saw, and the port that it was sent from."""

    address: str
    port: int
    local_port: int


def mapped(server: tuple[str, int], *, source: str, deadline_seconds: float = DEADLINE_SECONDS) -> Mapped:
    """Asks from the address that coturn relays from. OSError when the server cannot be asked, TimeoutError when it is silent."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    where = socket.getaddrinfo(*server, family=family, type=socket.SOCK_DGRAM)[0][4]
    ends_at = time.monotonic() + deadline_seconds
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as asking:
        asking.bind((source, 0))
        # Answers of others are dropped by the system then.
        asking.connect(where)
        local_port = int(asking.getsockname()[1])
        pause = FIRST_RETRANSMIT_SECONDS
        while (left := ends_at - time.monotonic()) > 0:
            asking.send(bytes(request))
            found = _reply(asking, request, time.monotonic() + min(pause, left))
            if found is not None:
                return Mapped(address=found[0], port=found[1], local_port=local_port)
            pause *= 2
    raise TimeoutError(f"no answer within {deadline_seconds:g} s")


def _reply(asking: socket.socket, request: stun.Message, until: float) -> tuple[str, int] | None:
    while (left := until - time.monotonic()) > 0:
        asking.settimeout(left)
        try:
            reply = stun.parse_message(asking.recv(_MOST_BYTES))
        except TimeoutError:
            return None
        except ValueError:
            continue
        if reply.transaction_id == request.transaction_id and reply.message_class == stun.Class.RESPONSE:
            address = reply.attributes.get("XOR-MAPPED-ADDRESS") or reply.attributes.get("MAPPED-ADDRESS")
            if address is not None:
                return str(address[0]), int(address[1])
    return None
