"""Text of a variable to a value. Each raises ValueError with the end of a sentence that begins with the variable's name."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}\Z")
_INTERFACE = re.compile(r"[^\s/]{1,15}\Z")
_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})\Z")

HIGHEST_PORT = 65535


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


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"must name a file that exists, and {text!r} does not")
    return path.absolute()


def absolute_path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(f"must be an absolute path, which {text!r} is not")
    if any(sign.isspace() or sign in "#=" for sign in text):
        # coturn's configuration has no quoting, so such a path could not be written into it.
        raise ValueError(f"must be a path without spaces, # and =, which {text!r} is not")
    return path


def one_of(*choices: str) -> Callable[[str], str]:
    def parser(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, which {text!r} is not")
        return text

    return parser
