"""What coturn's command line says, as values. Pure; the socket is in command_line.py.

Plain lines ending in CRLF. The greeting ends in `Enter password:`, every reply that we ask for in a prompt on its own line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agents.coturn.capabilities import parse_version
from controlplane.wire.agent_api import Transport

PASSWORD_QUESTION = b"Enter password:"
PROMPT = b"> "

_TOTAL = re.compile(rb"^\s*Total sessions:\s*(\d{1,18})\s*$", re.MULTILINE)


# A user name stands in the list as the client gave it, but without blanks: the words around it are coturn's own.
_USER = re.compile(rb"^ +user: <(\S*)>, (\d{1,9}) sessions?$", re.MULTILINE)
_SESSION = re.compile(rb"^ +\d+\) id=(\d{1,20}), user <(\S*)>:$", re.MULTILINE)
_PROTOCOL = re.compile(rb"^ +client protocol ([A-Z/]+), relay protocol", re.MULTILINE)
_CLIENT = re.compile(rb"^ +client addr (\S+), server addr ", re.MULTILINE)
# The one text of a client's own choice, line breaks and all: ORIGIN. It ends where coturn says when the session began.
_ORIGIN_LABEL = b"      origin: "
_ORIGIN = re.compile(rb"^      origin: [\s\S]{0,127}(?=\n      started)", re.MULTILINE)
MOST_ORIGIN_BYTES = 2 * 127
"""As sent, where some bytes become two. What coturn itself says of a session behind its origin is longer."""
_TRANSPORTS: dict[bytes, Transport] = {b"UDP": "udp", b"TCP": "tcp", b"TLS/TCP": "tls"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One entry of `ps`."""

    id: str
    username: str
    client: str
    """Address and port; empty where coturn does not say."""
    transport: Transport | None
    """None: one that is not among ours, such as DTLS."""


def greeted(received: bytes | bytearray) -> bool:
    return PASSWORD_QUESTION in received


def prompted(received: bytes | bytearray) -> bool:
    """The prompt alone, or at the start of the last line: a user name in a reply may well end in `> `.

    A prompt so near to the begin of an origin is a client's, in a reply that has come in part.
    """
    if received == PROMPT:
        return True
    return received.endswith(b"\n" + PROMPT) and _ORIGIN_LABEL not in received[-MOST_ORIGIN_BYTES - len(_ORIGIN_LABEL) :]


def version(greeting: bytes) -> str | None:
    """`4.6.1`, or None when the greeting does not say."""
    for line in greeting.decode("utf-8", "replace").splitlines():
        if "coturn" in line.lower():
            found = parse_version(line)
            if found is not None:
                return ".".join(str(part) for part in found)
    return None


def total_sessions(reply: bytes) -> int | None:
    """The count at the end of `pu`. The last one counts: user names come before it and are not ours to trust."""
    found = _TOTAL.findall(reply.replace(b"\r", b""))
    return int(found[-1]) if found else None


def users(reply: bytes) -> list[str]:
    """Who has sessions, from `pu`."""
    return [found[1].decode("utf-8", "replace") for found in _USER.finditer(reply.replace(b"\r", b""))]


def sessions(reply: bytes) -> list[Session]:
    """From `ps`. Of each entry only what stands before the next one counts, and nothing that is in an origin."""
    text = _ORIGIN.sub(b"", reply.replace(b"\r", b"").replace(b"\xff\xff", b"\xff"))
    heads = list(_SESSION.finditer(text))
    ends = [*(head.start() for head in heads), len(text)][1:]
    return [_session(head, text, end) for head, end in zip(heads, ends, strict=True)]


def _session(head: re.Match[bytes], text: bytes, end: int) -> Session:
    protocol, client = _PROTOCOL.search(text, head.end(), end), _CLIENT.search(text, head.end(), end)
    return Session(
        id=head[1].decode(),
        username=head[2].decode("utf-8", "replace"),
        client=client[1].decode("ascii", "replace") if client is not None else "",
        transport=_TRANSPORTS.get(protocol[1]) if protocol is not None else None,
    )
