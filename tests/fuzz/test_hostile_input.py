"""What a schema cannot say: bytes that are no JSON, no UTF-8, too deep, too long. Every call of the API gets all of them."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from controlplane.api.app import make_document
from tests.running_api import RunningApi, ask

_DOCUMENT = make_document()
_WITH_BODY = sorted(
    f"{method.upper()} {path}"
    for path, methods in _DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if "requestBody" in operation and operation["security"] != [{"nodeToken": []}]
)
_WITH_QUERY = sorted(
    f"{method.upper()} {path}"
    for path, methods in _DOCUMENT["paths"].items()
    for method, operation in methods.items()
    if any(each["in"] == "query" for each in operation["parameters"])
)
_WITH_PATH = sorted(
    f"{method.upper()} {path}"
    for path, methods in _DOCUMENT["paths"].items()
    for method in methods
    if "{" in path and "docs" not in path
)

BODIES = {
    "deep": b'{"name":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "deeper": b"[" * 60_000,
    "not_utf8": b'{"name": "\xff\xfe", "room": "\xc3"}',
    "nul": b'{"name": "a\\u0000b", "room": "a\\u0000b", "slug": "a\\u0000b", "url": "https://a\\u0000b"}',
    "lone_surrogate": b'{"name": "\\ud800", "room": "\\ud800"}',
    "number": b'{"name": 1e400, "ttl": 99999999999999999999999999, "max_ttl_seconds": 9223372036854775808}',
    "list": b"[]",
    "text": b'"text"',
    "half": b'{"name": "a',
    "twice": b'{"name": "a"}{"name": "b"}',
    "long": b'{"name": "' + b"a" * 300_000 + b'"}',
}
_NEVER_TAKEN = {"deep", "deeper", "not_utf8", "half", "twice", "list", "text", "long"}
_FORM_TOO = {"deeper", "list", "text"}
"""Issuing reads whatever is no JSON object as a form, and ignores fields that it does not know."""
TEXTS = (
    "%00",
    "%FF%FE",
    "%ED%A0%80",
    "a" * 4000,
    "../../etc/passwd",
    "%F0%9F%92%A9",
    "-1",
    "9" * 40,
    "' OR 1=1 --",
    "0001-01-01T00:00:00Z",
)


def _checked(answer: httpx.Response) -> None:
    assert 200 <= answer.status_code < 500, answer.read()
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail", "code", "request_id"}


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "nobody", path)


@pytest.mark.parametrize("call", _WITH_BODY)
async def test_no_body_is_too_strange(fuzzed_api: RunningApi, call: str) -> None:
    method, _, path = call.partition(" ")
    for name, body in BODIES.items():
        answer = await fuzzed_api.client.request(
            method,
            _filled(path),
            content=body,
            headers={**fuzzed_api.bearer("operator"), "x-project": "demo/demo", "content-type": "application/json"},
        )
        _checked(answer)
        if name in _NEVER_TAKEN - (_FORM_TOO if path.endswith("/credentials/ice") else set()):
            assert answer.status_code in {400, 404, 413, 422}, f"{name}: {answer.status_code} {answer.text}"


@pytest.mark.parametrize("call", _WITH_QUERY)
async def test_no_query_is_too_strange(fuzzed_api: RunningApi, call: str) -> None:
    method, _, path = call.partition(" ")
    names = [each["name"] for each in _DOCUMENT["paths"][path][method.lower()]["parameters"] if each["in"] == "query"]
    for text in TEXTS:
        for name in names:
            headers = {**fuzzed_api.bearer("operator"), "x-project": "demo/demo"}
            answer = await ask(fuzzed_api.client, method, f"{_filled(path)}?{name}={text}", headers=headers)
            _checked(answer)


@pytest.mark.parametrize("call", _WITH_PATH)
async def test_no_path_is_too_strange(fuzzed_api: RunningApi, call: str) -> None:
    method, _, path = call.partition(" ")
    for text in TEXTS:
        answer = await fuzzed_api.client.request(
            method,
            "/".join(text if part.startswith("{") else part for part in path.split("/")),
            headers={**fuzzed_api.bearer("operator"), "x-project": "demo/demo"},
            content=json.dumps({}) if method in {"POST", "PUT", "PATCH"} else None,
        )
        _checked(answer)


async def test_no_header_is_too_strange(fuzzed_api: RunningApi) -> None:
    for name, value in {
        "x-project": b"\xff\xfe",
        "X-Project": b"demo/" + b"a" * 8000,
        "x-turn-client-ip": b"\x80\x81",
        "x-request-id": b"\xff" * 20,
        "authorization": b"Bearer \xff\xfe",
    }.items():
        headers: list[tuple[bytes, bytes]] = [(name.encode(), value)]
        if name != "authorization":
            headers.append((b"authorization", fuzzed_api.bearer("operator")["authorization"].encode()))
        for path in ("/api/v1/fleet/nodes", "/api/v1/regions"):
            _checked(await fuzzed_api.client.get(path, headers=headers))
        _checked(await fuzzed_api.client.post("/api/v1/credentials/ice", headers=headers))
    assert (await fuzzed_api.client.get("/healthz", headers={"x-long": "a" * 70_000})).status_code == 431
