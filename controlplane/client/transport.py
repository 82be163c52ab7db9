"""One attempt over httpx: all that this library has to do with sockets. Loaded when a client is made, for it takes a while."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Generator
from typing import Any

import httpx
import msgspec

from controlplane.client.call import Answer, Call
from controlplane.client.configuration import API, CONNECT_SECONDS, Configuration
from controlplane.client.errors import ArgumentError, ConfigurationError, ConnectionFailedError

Attempt = Answer | ConnectionFailedError


class BlockingTransport:
    def __init__(self, configuration: Configuration) -> None:
        self._http = httpx.Client(timeout=_timeout(configuration), verify=verification_of(configuration))

    def attempt(self, configuration: Configuration, call: Call[Any]) -> Attempt:
        try:
            return _answer(self._http.send(_request(self._http, configuration, call)))
        except httpx.HTTPError as error:
            return _failure(configuration, error)

    def open(self, configuration: Configuration, call: Call[Any]) -> tuple[Attempt, httpx.Response | None]:
        """The begin of an answer that goes on, and where the rest of it is read. A refusal is read whole."""
        try:
            response = self._http.send(_request(self._http, configuration, call), stream=True)
            if response.is_success:
                return Answer(status=response.status_code, headers=dict(response.headers), body=b""), response
            response.read()
            return _answer(response), None
        except httpx.HTTPError as error:
            return _failure(configuration, error), None

    def chunks(self, configuration: Configuration, response: httpx.Response) -> Generator[bytes, None, None]:
        """What comes, until it ends. Raises ConnectionFailedError."""
        try:
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise _failure(configuration, error) from None
        finally:
            response.close()

    def close(self) -> None:
        self._http.close()


class AwaitingTransport:
    def __init__(self, configuration: Configuration) -> None:
        self._http = httpx.AsyncClient(timeout=_timeout(configuration), verify=verification_of(configuration))

    async def attempt(self, configuration: Configuration, call: Call[Any]) -> Attempt:
        try:
            return _answer(await self._http.send(_request(self._http, configuration, call)))
        except httpx.HTTPError as error:
            return _failure(configuration, error)

    async def open(self, configuration: Configuration, call: Call[Any]) -> tuple[Attempt, httpx.Response | None]:
        """The begin of an answer that goes on, and where the rest of it is read. A refusal is read whole."""
        try:
            response = await self._http.send(_request(self._http, configuration, call), stream=True)
            if response.is_success:
                return Answer(status=response.status_code, headers=dict(response.headers), body=b""), response
            await response.aread()
            return _answer(response), None
        except httpx.HTTPError as error:
            return _failure(configuration, error), None

    async def chunks(self, configuration: Configuration, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """What comes, until it ends. Raises ConnectionFailedError."""
        try:
            async for chunk in response.aiter_bytes():
                yield chunk
        except httpx.HTTPError as error:
            raise _failure(configuration, error) from None
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._http.aclose()


def _timeout(configuration: Configuration, takes_seconds: float = 0.0) -> httpx.Timeout:
    return httpx.Timeout(configuration.timeout_seconds + takes_seconds, connect=min(CONNECT_SECONDS, configuration.timeout_seconds))


def verification_of(configuration: Configuration) -> ssl.SSLContext | bool:
    """What a server is verified against, as httpx takes it; True: the usual authorities. Raises ConfigurationError."""
    if configuration.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=configuration.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"{configuration.ca_file} cannot be used as a file of authorities: {error}.") from None


def _request(http: httpx.Client | httpx.AsyncClient, configuration: Configuration, call: Call[Any]) -> httpx.Request:
    headers = {"accept": "application/json", **configuration.headers(), **call.headers}
    content = None
    try:
        if call.body is not None:
            content = msgspec.json.encode(call.body)
            headers["content-type"] = "application/json"
        return http.build_request(
            call.method,
            configuration.url + API + call.path,
            params=call.query_text(),
            headers=headers,
            content=content,
            timeout=_timeout(configuration, call.takes_seconds),
        )
    except UnicodeEncodeError as error:
        raise ArgumentError(f"{error.object!r} holds a character that cannot be sent there.") from None


def _answer(response: httpx.Response) -> Answer:
    return Answer(status=response.status_code, headers=dict(response.headers), body=response.content)


def _failure(configuration: Configuration, error: httpx.HTTPError) -> ConnectionFailedError:
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    reason = f": {error}" if str(error) else ""
    return ConnectionFailedError(f"{configuration.url} {what}{reason}.")
