"""The few ASGI steps of the routes that Litestar's own request handling is too slow for: read a body, send an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from litestar.types import Receive, Scope, Send

from controlplane.api.problems import ProblemError, encode_problem

ABORT = "turnfleet.abort"
"""The extension by which api/http_protocol.py lets an answer cut its own connection."""


def aborter(scope: Scope) -> Callable[[], None] | None:
    """Cuts the connection, whatever still waits to be sent on it; None where the server has no such thing."""
    extensions = scope.get("extensions") or {}
    return cast("Callable[[], None] | None", extensions.get(ABORT, {}).get("abort"))


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that lower-case name. Bytes that are no ASCII become `?`: no header of ours has any."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("ascii", "replace")
    return None


def bearer_token(scope: Scope) -> str | None:
    """The token of `Authorization: Bearer …`; None when there is none."""
    value = header(scope, b"authorization")
    if value is None or value[:7].lower() != "bearer ":
        return None
    return value[7:].strip()


async def read_body(receive: Receive, *, limit_bytes: int) -> bytes:
    """The whole body. Raises ProblemError body_too_large as soon as it is over the limit."""
    message = await receive()
    body: bytes = message.get("body", b"")  # type: ignore[assignment]
    while message.get("more_body", False) and len(body) <= limit_bytes:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError("body_malformed", "The connection was closed before the whole body was there.")
        body += message.get("body", b"")  # type: ignore[operator]
    if len(body) > limit_bytes:
        raise ProblemError(
            "body_too_large", f"This call takes a body of at most {limit_bytes} bytes.", headers=[("connection", "close")]
        )
    return body


async def send_answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_problem(send: Send, problem: ProblemError, request_id: str) -> None:
    status, headers, body = encode_problem(problem, request_id)
    await send_answer(send, status, [(name.encode(), value.encode()) for name, value in headers], body)
