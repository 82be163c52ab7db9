"""The way to the control plane: one JSON request, one deadline, and at most one immediate retry, through the next origin.

Every outcome is a value. What the agent does about it (wait, go on, give up) is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import httpx
import msgspec

from agents.errors import SettingsError
from agents.settings import PREFIX
from controlplane.wire.agent_api import (
    Heartbeat,
    HeartbeatReply,
    JoinReply,
    JoinRequest,
    LeaveRequest,
    UsageReply,
    UsageReport,
)
from controlplane.wire.found_api import Found
from controlplane.wire.redacted import Redacted

TRY_SECONDS = 1.5
LEAVE_SECONDS = 1.0
"""A goodbye is a courtesy: the lease tells the same a little later."""
JOIN_SECONDS = 10.0
FOUND_SECONDS = 10.0
USAGE_SECONDS = 10.0
"""It is answered once all of it is stored for good."""
KEEPALIVE_SECONDS = 60.0
"""Below the servers' 75 s, so that no request is written to a connection that is just being closed."""

_SERVER_ERROR = 500
_TOO_MANY = 429
_MOST_WORDS = 200

_NO_REPLY = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading somebody else's bytes may end in."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Generic[T]):
    reply: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The control plane understood, and said no. Asking the same again gives the same."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """No usable answer: the network, a deadline, or a server in trouble. It passes by itself."""

    reason: str
    again: Again = "later"
    """When another try may help. A server in trouble is not asked at once again, for that is how it stays in trouble."""
    retry_after_seconds: float | None = None
    """What the server asked for."""


Again = Literal["at once", "elsewhere", "later"]
Outcome = Answered[T] | Refused | Unreachable


class Link:
    def __init__(self, *, origins: tuple[str, ...], ca_file: Path | None) -> None:
        self._origins = origins
        self._next = 0
        self._client = httpx.AsyncClient(
            verify=trust(origins, ca_file),
            # Each try has its own deadline as a whole.
            timeout=USAGE_SECONDS,
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=2, keepalive_expiry=KEEPALIVE_SECONDS),
            # A proxy or a netrc of the environment must not get the node's token.
            trust_env=False,
            headers={"user-agent": "turnfleet-agent", "content-type": "application/json", "accept": "application/json"},
        )

    async def heartbeat(self, token: Redacted, build: Callable[[], Heartbeat]) -> Outcome[HeartbeatReply]:
        """`build` is called for each try: a retry is a new report with its own sequence and time."""
        outcome = await self._post("heartbeat", build(), token, TRY_SECONDS)
        if isinstance(outcome, Unreachable) and (
            outcome.again == "at once" or (outcome.again == "elsewhere" and len(self._origins) > 1)
        ):
            outcome = await self._post("heartbeat", build(), token, TRY_SECONDS)
        return _decoded(outcome, HeartbeatReply)

    async def usage(self, token: Redacted, report: UsageReport) -> Outcome[UsageReply]:
        return _decoded(await self._post("usage", report, token, USAGE_SECONDS), UsageReply)

    async def found(self, token: Redacted, report: Found) -> Outcome[bytes]:
        return await self._post("found", report, token, FOUND_SECONDS)

    async def leave(self, token: Redacted, request: LeaveRequest) -> Outcome[bytes]:
        return await self._post("leave", request, token, LEAVE_SECONDS)

    async def join(self, request: JoinRequest) -> Outcome[JoinReply]:
        return _decoded(await self._post("join", request, None, JOIN_SECONDS), JoinReply)

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, path: str, body: msgspec.Struct, token: Redacted | None, seconds: float) -> Outcome[bytes]:
        """One try at the current origin. After a failure the next try goes to the next one."""
        origin = self._origins[self._next % len(self._origins)]
        headers = {"authorization": f"Bearer {token.reveal()}"} if token is not None else {}
        try:
            # httpx bounds each read and write; the whole try needs a deadline of its own.
            async with asyncio.timeout(seconds):
                response = await self._client.post(
                    f"{origin}/api/v1/agents/{path}", content=msgspec.json.encode(body), headers=headers
                )
        except TimeoutError:
            self._next += 1
            return Unreachable(reason=f"{origin}: no answer within {seconds} s", again="at once")
        except httpx.HTTPError as error:
            self._next += 1
            return Unreachable(reason=f"{origin}: {type(error).__name__}: {error}"[:_MOST_WORDS].rstrip(": "), again="at once")
        if response.status_code >= _SERVER_ERROR or response.status_code == _TOO_MANY:
            self._next += 1
            return Unreachable(
                reason=f"{origin}: status {response.status_code}",
                again="elsewhere" if response.status_code >= _SERVER_ERROR else "later",
                retry_after_seconds=_retry_after(response),
            )
        if not response.is_success:
            return Refused(status=response.status_code, reason=_reason(response))
        return Answered(reply=response.content)


class _Problem(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""


def _decoded(outcome: Outcome[bytes], kind: type[T]) -> Outcome[T]:
    if not isinstance(outcome, Answered):
        return outcome
    try:
        return Answered(reply=msgspec.json.decode(outcome.reply, type=kind))
    except _NO_REPLY:
        return Unreachable(reason="an answer that is no reply of the agent protocol")


def trust(origins: tuple[str, ...], ca_file: Path | None) -> ssl.SSLContext:
    """The authorities, loaded only when some origin is https: the system's list costs megabytes."""
    if any(origin.startswith("https://") for origin in origins):
        try:
            return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
        except OSError as error:
            raise SettingsError(f"{PREFIX}CA_FILE: {ca_file} holds no certificates that can be read ({error}).") from None
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _retry_after(response: httpx.Response) -> float | None:
    """Only the form in seconds (RFC 9110, 10.2.3): a date would be read by a clock that may be wrong."""
    text = response.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def _reason(response: httpx.Response) -> str:
    """The detail of a problem+json answer, or nothing: other bodies are not worth a log line."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except _NO_REPLY:
        return ""
    return (problem.detail or problem.title)[:_MOST_WORDS]
