"""Around every request: its id."""

from __future__ import annotations

import re

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{8,64}")


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Give each request an id, the caller's own where it is sane, and send it back as X-Request-Id with every answer."""

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _ACCEPTED.fullmatch(given) else str(uuid7()).encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        await app(scope, receive, send_with_id)

    return edge
