"""Text of a variable to a value. Each raises ValueError with the end of a sentence that begins with the variable's name."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")
_INTERFACE = re.compile(r"[^\s/]{1,15}\Z")
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})\Z")

HIGHEST_PORT = 65535
STUN_PORT = 3478


def origins(text: str) -> tuple[str, ...]:
    """`https://a.example,https://b.example:8443`: scheme, host and port, nothing behind."""
    found = []
    for part in text.split(","):
        parts = urlsplit(part.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"must hold http:// or https:// origins, which {part.strip()!r} is not")
        if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"must hold origins without path, query or user, as in https://turn.example ({part.strip()!r})")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(f"has a port that is none in {part.strip()!r}") from None
        found.append(f"{parts.scheme}://{parts.netloc}")
    return tuple(dict.fromkeys(found))


def name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(f"must be 1 to 100 letters, digits, dots, - or _, which {text!r} is not")
    return text


def host(text: str) -> str:
    if not _HOST.match(text):
        raise ValueError(f"must be a host name or an IP address, which {text!r} is not")
    return text


def address(text: str) -> str:
    """One address of a host, never a wildcard: coturn must know what it relays from, and the probe whom to ask."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"must be an IP address, which {text!r} is not") from None
    if parsed.is_unspecified:
        raise ValueError(f"must be one address of this host, not the wildcard {text}")
    return str(parsed)


def port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= HIGHEST_PORT:
        raise ValueError(f"must be a port from 1 to {HIGHEST_PORT}, which {text!r} is not")
    return int(text)


def port_or_any(text: str) -> int:
    return 0 if text == "0" else port(text)


def port_range(text: str) -> tuple[int, int]:
    found = _RANGE.match(text)
    if not found:
        raise ValueError(f"must be a range of ports like 10000-29999, which {text!r} is not")
    first, last = port(found.group(1)), port(found.group(2))
    if first > last:
        raise ValueError(f"must name the lower port first, unlike {text!r}")
    return first, last


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"must be a number, which {text!r} is not") from None
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"must be a number above 0, which {text!r} is not")
    return value


def threads(text: str) -> int:
    most = 128  # coturn's own limit on relay threads
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise ValueError(f"must be a number of threads from 1 to {most}, which {text!r} is not")
    return int(text)


def boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in {"true", "1", "yes", "on"}:
        return True
    if lowered in {"false", "0", "no", "off"}:
        return False
    raise ValueError(f"must be true or false, which {text!r} is not")


def interface(text: str) -> str:
    if not _INTERFACE.match(text) or text in {".", ".."}:
        raise ValueError(f"must be the name of a network interface, which {text!r} is not")
    return text


def server(text: str) -> tuple[str, int]:
    """`stun.example`, `stun.example:19302` or `[2001:db8::1]:3478`: a host, and a port where it is not 3478."""
    try:
        parts = urlsplit(f"//{text}")
        name, number = parts.hostname or "", parts.port
    except ValueError:
        name, number = "", None
    if not _HOST.match(name) or number == 0 or parts.netloc != text or parts.username is not None:
        raise ValueError(f"must be a host, or a host and a port as in stun.example:3478, which {text!r} is not")
    return name, number or STUN_PORT


def existing_file(text: str) -> Path:
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ValueError(f"must name a file that can be looked at, and {text!r} cannot ({error.strerror})") from None
    if not is_file:
        raise ValueError(f"must name a file that exists, and {text!r} does not")
    return path.absolute()


def absolute_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, which {text!r} is not")
    _refuse_unwritable(text)
    return path


def coturn_file(text: str) -> Path:
    """An existing file whose absolute path can stand in coturn's configuration."""
    path = existing_file(text)
    _refuse_unwritable(str(path))
    return path


def program(text: str) -> Path:
    """An executable that nobody but its owner may change: the agent runs it, as root where it is root."""
    path = existing_file(text)
    if not os.access(path, os.X_OK):
        raise ValueError(f"must name a program that can be run, and {text!r} cannot (chmod +x)")
    if path.stat().st_mode & 0o022:
        raise ValueError(f"must name a program that only its owner may change, and others may change {text!r} (chmod go-w)")
    return path


def whole_number(least: int) -> Callable[[str], int]:
    most = 2**31 - 1  # coturn keeps these in 32 bits

    def parser(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, which {text!r} is not")
        return int(text)

    return parser


def peers(text: str) -> tuple[str, ...]:
    """`192.0.2.1, 198.51.100.0-198.51.100.255`: never a CIDR block, which some versions of coturn take and ignore."""
    found = []
    for part in (one.strip() for one in text.split(",")):
        first, dash, last = (one.strip() for one in part.partition("-"))
        try:
            low = ipaddress.ip_address(first)
            high = ipaddress.ip_address(last) if dash else low
        except ValueError:
            words = "must hold addresses or ranges like 198.51.100.0-198.51.100.255 (no CIDR blocks), which"
            raise ValueError(f"{words} {part!r} is not") from None
        if low.version != high.version or int(low) > int(high) or "%" in part:
            raise ValueError(f"must hold ranges from a lower to a higher address of one IP version, which {part!r} is not")
        found.append(f"{low}-{high}" if dash else str(low))
    return tuple(dict.fromkeys(found))


def _refuse_unwritable(text: str) -> None:
    if any(sign.isspace() or not sign.isprintable() or sign in "#=" for sign in text):
        # coturn's configuration has no quoting, so such a path could not be written into it.
        raise ValueError(f"must be a path without spaces, # and =, which {text!r} is not")


def one_of(*choices: str) -> Callable[[str], str]:
    def parser(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, which {text!r} is not")
        return text

    return parser
