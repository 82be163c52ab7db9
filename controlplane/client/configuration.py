"""Where the control plane is and who calls: arguments first, then the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from controlplane import __version__
from controlplane.client.errors import ConfigurationError
from controlplane.client.exchange import Retries
from controlplane.wire.redacted import Redacted

VARIABLES = {
    "url": "TURNFLEET_CLIENT_URL",
    "token": "TURNFLEET_CLIENT_TOKEN",
    "project": "TURNFLEET_CLIENT_PROJECT",
    "ca_file": "TURNFLEET_CLIENT_CA_FILE",
}
"""Apart from the server's settings, which refuse what they do not know."""

API = "/api/v1"
CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    url: str
    """Of the control plane, without /api/v1."""
    token: Redacted
    project: str | None = None
    """X-Project. An organization token names it by its slug, an operator token as ORGANIZATION/SLUG; None: the token's own."""
    ca_file: str | None = None
    """PEM file of the authorities that the server is verified against; None: the usual ones."""
    timeout_seconds: float = 10.0
    """For sending and for each part of an answer; connecting takes 5 at most."""
    retries: Retries = field(default_factory=Retries)
    user_agent: str = ""
    """Put before this library's own."""

    def in_project(self, project: str | None) -> Configuration:
        return replace(self, project=_header("project", project))

    def headers(self) -> dict[str, str]:
        own = f"turnfleet-python/{__version__}"
        headers = {
            "authorization": f"Bearer {self.token.reveal()}",
            "user-agent": f"{self.user_agent} {own}" if self.user_agent else own,
        }
        return headers | ({"x-project": self.project} if self.project else {})


def configure(
    *,
    url: str | None,
    token: str | Redacted | None,
    project: str | None,
    ca_file: str | None,
    timeout_seconds: float,
    retries: Retries | None,
    user_agent: str,
    environment: Mapping[str, str] = os.environ,
) -> Configuration:
    """Raises ConfigurationError for what is missing or cannot be; its text never holds the token."""
    secret = token.reveal() if isinstance(token, Redacted) else token
    return Configuration(
        url=_url(_needed("url", url, environment)),
        token=Redacted(_header("token", _needed("token", secret, environment)) or ""),
        project=_header("project", project or environment.get(VARIABLES["project"]) or None),
        ca_file=ca_file or environment.get(VARIABLES["ca_file"]) or None,
        timeout_seconds=timeout_seconds,
        retries=retries or Retries(),
        user_agent=user_agent,
    )


def _needed(name: str, value: str | None, environment: Mapping[str, str]) -> str:
    found = (value or environment.get(VARIABLES[name]) or "").strip()
    if not found:
        raise ConfigurationError(f"No {name} is given: pass {name}=… or set {VARIABLES[name]}.")
    return found


def _url(text: str) -> str:
    """Without a slash at its end, and without /api/v1, which people copy along."""
    try:
        split = urlsplit(text)
        host = split.hostname
        _ = split.port
    except ValueError:
        host = None
    if host is None or split.scheme not in {"http", "https"} or split.query or split.fragment or "@" in split.netloc:
        raise ConfigurationError(f"{text!r} is no URL of a control plane: https://turn.example.org, for example.")
    return text.rstrip("/").removesuffix(API)


def _header(name: str, value: str | None) -> str | None:
    if value is not None and (not value.isascii() or not value.isprintable() or " " in value):
        raise ConfigurationError(f"The {name} holds characters that no {name} has.")
    return value
