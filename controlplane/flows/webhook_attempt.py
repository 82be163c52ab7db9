"""One attempt to send a webhook something, over a connection to an address that was checked.

Nothing is resolved a second time, so a name that changes its mind after the check gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from controlplane.flows.webhook_target import DEADLINE_SECONDS, TargetRefusedError, Targets, parse_target

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 64 * 1024
"""So much of an answer is read and thrown away, so that the connection can be used again; more is not worth it."""
_ADDRESSES_TRIED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of one attempt."""

    status: int | None
    """None: no answer."""
    failure: str | None
    """In words; None: it was answered 2xx."""
    retry_after_seconds: float | None
    milliseconds: float


@asynccontextmanager
async def sender_to(targets: Targets) -> AsyncIterator[Sender]:
    """For some attempts in a row: connections are used again."""
    async with httpx.AsyncClient(
        transport=_CheckedTransport(targets), timeout=DEADLINE_SECONDS, trust_env=False, follow_redirects=False
    ) as client:
        yield Sender(client)


class _CheckedTransport(httpx.AsyncBaseTransport):
    """Connects to checked addresses alone. The name stays in the Host header, in SNI and in what the certificate must show."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._inner = httpx.AsyncHTTPTransport(verify=targets.verify, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        named = request.url
        addresses = await self._targets.addresses(named)
        request.extensions |= {"sni_hostname": named.raw_host.decode("ascii")}
        *others, last = addresses[:_ADDRESSES_TRIED]
        for address in others:
            with suppress(httpx.ConnectError):
                return await self._send_to(request, named, address)
        return await self._send_to(request, named, last)

    async def _send_to(self, request: httpx.Request, named: httpx.URL, address: str) -> httpx.Response:
        request.url = named.copy_with(host=address)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Sender:
    """Sends to one target; never raises for what the target does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, url: str, body: str, headers: Mapping[str, str]) -> Attempt:
        """One POST of JSON, within DEADLINE_SECONDS."""
        began = time.monotonic()
        status, retry_after, failure = None, None, None
        try:
            async with (
                asyncio.timeout(DEADLINE_SECONDS),
                self._client.stream(
                    "POST",
                    parse_target(url),
                    content=body.encode(),
                    headers={"content-type": "application/json", "user-agent": "turnfleet-webhooks", **headers},
                ) as response,
            ):
                status, retry_after = response.status_code, _retry_after_seconds(response.headers.get("retry-after"))
                await _drain(response)
        except (TimeoutError, httpx.TimeoutException):
            failure = f"No answer within {DEADLINE_SECONDS:.0f} seconds."
        except TargetRefusedError as error:
            failure = str(error)
        except (httpx.HTTPError, OSError, ValueError) as error:  # ValueError: a name that TLS cannot ask for
            failure = _in_words(error)
        return Attempt(
            status=status,
            # The status decides, whatever became of the rest of the answer.
            failure=failure if status is None else _status_in_words(status),
            retry_after_seconds=retry_after,
            milliseconds=round((time.monotonic() - began) * 1000, 1),
        )


async def _drain(response: httpx.Response) -> None:
    """The answer's body is nothing to us; that it does not end is no failure."""
    size = 0
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for part in response.aiter_raw():
                size += len(part)
                if size > _DRAIN_BYTES:
                    return


def _status_in_words(status: int) -> str | None:
    if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 §15.3
        return None
    if 300 <= status < 400:  # noqa: PLR2004
        return f"The target answered {status}: redirects are not followed."
    return f"The target answered {status}."


def _in_words(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The target's certificate is not good: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError):
            return "The target does not speak TLS as it should."
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        return "The target does not take connections."
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return "The target ended the connection without an answer that is HTTP."
    return f"The request failed: {type(error).__name__}."


def _retry_after_seconds(value: str | None) -> float | None:
    """RFC 9110 §10.2.3: seconds or a date; None for neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
    except (ValueError, OverflowError):
        return None
