"""What coturn's command line says, as values. Pure; the socket is in command_line.py.

Plain lines ending in CRLF. The greeting ends in `Enter password:`, every reply that we ask for in a prompt on its own line.
"""

from __future__ import annotations

import re

from agents.coturn.capabilities import parse_version

PASSWORD_QUESTION = b"Enter password:"
PROMPT = b"> "

_TOTAL = re.compile(rb"^\s*Total sessions:\s*(\d{1,18})\s*$", re.MULTILINE)


def greeted(received: bytes) -> bool:
    return PASSWORD_QUESTION in received


def prompted(received: bytes) -> bool:
    """The prompt alone, or at the start of the last line: a user name in a reply may well end in `> `."""
    return received == PROMPT or received.endswith(b"\n" + PROMPT)


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
