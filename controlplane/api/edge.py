"""Around every request: its id, and where it stands in its rate limit."""

from __future__ import annotations

import re

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from controlplane.api.limits import HEADERS_KEY

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{8,64}")


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Give each request an id, the caller's own where it is sane: in every line of the log, and as X-Request-Id in every answer.

    The rate limit's headers go with every answer of a request that was counted, be it good, refused or a problem.
    """

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _ACCEPTED.fullmatch(given) else str(uuid7()).encode()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        # A request is a task of its own: what is bound here ends with it.
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id), *state.get(HEADERS_KEY, ())]
            await send(message)

        await app(scope, receive, send_with_id)

    return edge
