"""What arrives before there is a request: offered upgrades, headers without end, smuggling, and the request's id."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.running_api import RunningApi


async def raw(api: RunningApi, *parts: bytes) -> bytes:
    """Send bytes as they are, each part in a packet of its own; everything that comes back until the server closes."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with suppress(OSError):  # a server that has refused already may have closed
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
    answer = b""
    with suppress(OSError):
        while chunk := await asyncio.wait_for(reader.read(65_536), 10):
            answer += chunk
    writer.close()
    return answer


def head(api: RunningApi, *lines: bytes, token: bool = True) -> bytes:
    authorization = [f"Authorization: {api.bearer('project')['authorization']}".encode()] if token else []
    return b"\r\n".join([b"POST /api/v1/credentials/ice HTTP/1.1", b"Host: relay", *authorization, *lines, b"", b""])


JAVA = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", b"Upgrade: h2c")
BODY = b'{"fixed_region":"us-east"}'


@pytest.mark.parametrize("split", [False, True], ids=["one packet", "body later"])
async def test_an_offered_upgrade_keeps_its_body(api: RunningApi, split: bool) -> None:
    start = head(api, *JAVA, b"Content-Type: application/json", b"Content-Length: %d" % len(BODY))
    again = head(api, b"Content-Length: 0", b"Connection: close")
    answer = await (raw(api, start, BODY, again) if split else raw(api, start + BODY, again))
    assert answer.count(b"HTTP/1.1 200 OK") == 2, answer
    assert b"x-turn-region: us-east" in answer


async def test_headers_have_a_bound(api: RunningApi) -> None:
    assert b" 431 " in (await raw(api, head(api, b"X-Long: " + b"a" * 20_000))).split(b"\r\n")[0]
    assert b" 431 " in (await raw(api, head(api, *(b"X-%d: 1" % n for n in range(150))))).split(b"\r\n")[0]
    endless = head(api)[:-2]
    assert b" 431 " in (await raw(api, endless, *(b"X-%d: %s\r\n" % (n, b"a" * 4000) for n in range(6)))).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 3", b"Content-Length: 5"),
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Content-Length: minus",),
    ],
)
async def test_a_request_that_two_servers_would_read_differently_is_a_400(api: RunningApi, lines: tuple[bytes, ...]) -> None:
    answer = await raw(api, head(api, *lines) + b"abc")
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b"content-type: application/problem+json" in answer
    assert b'"code":"request_malformed"' in answer


async def test_connect_is_refused_and_the_server_lives_on(api: RunningApi) -> None:
    answer = await raw(api, b"CONNECT relay:443 HTTP/1.1\r\nHost: relay\r\n\r\n" + b"\x16\x03\x01 hello")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (await api.issue()).status_code == 200


async def test_trailers_have_a_bound(api: RunningApi) -> None:
    start = head(api, b"Transfer-Encoding: chunked") + b"0\r\n"
    answer = await raw(api, start, *(b"A: b\r\n" * 1000 for _ in range(50)))
    assert len(answer) < 5000
    assert (await api.issue()).status_code == 200


async def test_a_head_that_begins_behind_a_large_body_is_not_refused(api: RunningApi) -> None:
    body = b"room=" + b"a" * 12_000
    first = head(api, b"Content-Length: %d" % len(body)) + body
    second = head(api, b"X-Padding: " + b"a" * 6_000, b"Content-Length: 0", b"Connection: close")
    answer = await raw(api, first + second[:4000], second[4000:])
    assert b" 422 " in answer.split(b"\r\n")[0]
    assert b"HTTP/1.1 200 OK" in answer


async def test_a_request_id_is_kept_when_sane(api: RunningApi) -> None:
    assert (await api.issue(headers={"x-request-id": "my-request-77"})).headers["x-request-id"] == "my-request-77"
    assert (await api.issue(headers={"x-request-id": "bad id"})).headers["x-request-id"] != "bad id"
