"""Server-Sent Events without a socket: bytes become events, and a stream that ended is asked for again where it was.

https://html.spec.whatwg.org/multipage/server-sent-events.html, but for line ends: this API sends line feeds alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from controlplane.client.call import Answer, Call, Stream, nothing
from controlplane.client.errors import (
    AnswerUnreadableError,
    ConnectionFailedError,
    EventsMissedError,
    RateLimitedError,
    TurnfleetError,
    UnavailableError,
)

_SILENT_SECONDS = 30.0
"""The API says something every 15 s."""
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 10.0
_JITTER_SHARE = 0.25
_LONGEST_EVENT_BYTES = 1 << 20
_ID_DIGITS = 19
"""As many as PostgreSQL's bigint has."""


class _Notice(msgspec.Struct):
    detail: str


class Following:
    """One stream through all its connections."""

    def __init__(self, stream: Stream[Any], *, dice: Callable[[], float] = random.random) -> None:
        self._stream = stream
        self._dice = dice
        self._last_event_id = "" if stream.after is None else str(stream.after)
        self._buffer = b""
        self._retry_seconds = _FIRST_WAIT_SECONDS
        self._began = False
        self._failures = 0
        """Since it was connected last."""

    def call(self) -> Call[None]:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": self._last_event_id} if self._last_event_id else {})
        return Call(
            method="GET",
            path=self._stream.path,
            query=self._stream.query,
            headers=headers,
            read=nothing,
            repeat="always",
            takes_seconds=_SILENT_SECONDS,
        )

    def begin(self, answer: Answer) -> None:
        """It was answered well. Raises AnswerUnreadableError when that is no stream."""
        if answer.headers.get("content-type", "").partition(";")[0].strip() != "text/event-stream":
            raise AnswerUnreadableError("The answer is no stream of events. Is the URL the control plane's?")
        self._began, self._failures, self._buffer = True, 0, b""

    def feed(self, chunk: bytes) -> Iterator[msgspec.Raw]:
        """The events that are whole now. Raises EventsMissedError or AnswerUnreadableError."""
        *blocks, self._buffer = (self._buffer + chunk).split(b"\n\n")
        if len(self._buffer) > _LONGEST_EVENT_BYTES:
            raise AnswerUnreadableError("The answer is no stream of events: one of them has no end.")
        for block in blocks:
            event = self._read(block)
            if event is not None:
                yield event

    def lost(self, error: TurnfleetError) -> bool:
        """Whether this is the first failure since it was connected. Raises the error when asking again is no use."""
        if not self._began or not isinstance(error, ConnectionFailedError | UnavailableError | RateLimitedError):
            raise error
        self._failures += 1
        return self._failures == 1

    def wait_seconds(self) -> float:
        """Before it is asked for again."""
        seconds = min(self._retry_seconds * 2 ** min(self._failures, 10), max(_LONGEST_WAIT_SECONDS, self._retry_seconds))
        return float(seconds * (1 + _JITTER_SHARE * self._dice()))

    def _read(self, block: bytes) -> msgspec.Raw | None:
        kind, data = "message", []
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"id" and value.isdigit() and len(value) <= _ID_DIGITS:
                self._last_event_id = value.decode()
            elif name == b"retry" and value.isdigit() and len(value) <= _ID_DIGITS:
                self._retry_seconds = int(value) / 1000
            elif name == b"event":
                kind = value.decode(errors="replace")
            elif name == b"data":
                data.append(value)
        if kind == "reload":
            last = int(self._last_event_id) if self._last_event_id else None
            raise EventsMissedError(_detail(b"\n".join(data)), last_event_id=last)
        return msgspec.Raw(b"\n".join(data)) if data and kind == "message" else None


def _detail(data: bytes) -> str:
    try:
        return msgspec.json.decode(data, type=_Notice).detail
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "Some events were missed: read the list again."
