"""What `turnfleet doctor` reads beside the API's calls: the way to the control plane, its certificate and its clock."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from controlplane.client.configuration import CONNECT_SECONDS, Configuration
from controlplane.wire.fleet_api import Readiness

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 10.0
_HTTPS = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One answer of /healthz, or why there was none."""

    status: int = 0
    seconds: float = 0.0
    clock_offset_seconds: float | None = None
    """This machine's clock minus the API's, which tells whole seconds; None: it told no time."""
    failure: str = ""


class _Info(msgspec.Struct):
    version: str


class _Document(msgspec.Struct):
    info: _Info


class Looker:
    """One HTTP client for the paths that stand at the root. No token is sent to them."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises ConfigurationError for a file of authorities that is none."""
        import httpx

        from controlplane.client.transport import verification_of

        self._url = configuration.url
        self._verify = verification_of(configuration)
        self._http = httpx.Client(verify=self._verify, timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=CONNECT_SECONDS))

    def close(self) -> None:
        self._http.close()

    def way(self) -> Way:
        import httpx

        began, wall = time.monotonic(), time.time()
        try:
            answer = self._http.get(f"{self._url}/healthz")
        except httpx.HTTPError as error:
            return Way(failure=str(error) or type(error).__name__)
        seconds = time.monotonic() - began
        return Way(status=answer.status_code, seconds=seconds, clock_offset_seconds=_offset(answer, wall + seconds / 2))

    def version(self) -> str | None:
        """None: it does not say."""
        body = self._body("/openapi.json")
        try:
            return None if body is None else msgspec.json.decode(body, type=_Document).info.version
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def readiness(self) -> Readiness | None:
        """Of the replica that answers. None: it does not say."""
        body = self._body("/readyz")
        try:
            return None if body is None else msgspec.json.decode(body, type=Readiness)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def certificate_ends_at(self) -> datetime | str | None:
        """When the API's certificate ends; why it could not be read; None without TLS."""
        parts = urlsplit(self._url)
        if parts.scheme != "https" or parts.hostname is None:
            return None
        context = self._verify if isinstance(self._verify, ssl.SSLContext) else ssl.create_default_context()
        try:
            with (
                socket.create_connection((parts.hostname, parts.port or _HTTPS), timeout=CONNECT_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
            ):
                ends = (secured.getpeercert() or {}).get("notAfter")
        except (OSError, ValueError) as error:
            return str(error)
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) if ends else "it names no end"

    def _body(self, path: str) -> bytes | None:
        import httpx

        try:
            return self._http.get(f"{self._url}{path}").content
        except httpx.HTTPError:
            return None


def _offset(answer: httpx.Response, wall: float) -> float | None:
    """The header is cut to whole seconds: what is within one of them counts as none."""
    try:
        told = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
    return min(0.0, wall - told) if wall < told else max(0.0, wall - told - 1)
