"""uvicorn's HTTP protocol, with two corrections: an offered upgrade keeps its body, and headers have a bound.

And an addition: an answer may cut its connection, for a client that does not read must not hold it for ever.

Java's default HTTP client offers `Upgrade: h2c` with every plain request. A server may ignore the offer (RFC 9110 §7.8), but
llhttp then takes the body for the upgraded protocol, and uvicorn would hand the application an empty one.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httptools
from uuid_utils import uuid7
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controlplane.api.problems import ProblemError, encode_problem
from controlplane.api.raw_http import ABORT
from controlplane.wire.problem import PROBLEMS

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADER_LINES = 100


class EdgeProtocol(HttpToolsProtocol):
    """For uvicorn's `http` setting."""

    _head_bytes = 0
    _in_head = False
    _refused = False
    headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012 - the parent's, anew for each message; here before the first

    _extensions: dict[str, dict[object, object]] = {}  # noqa: RUF012 - replaced when the connection is made

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the parent has it
        super().connection_made(transport)
        self._extensions = {ABORT: {"abort": transport.abort}}

    def data_received(self, data: bytes) -> None:
        if self._is_refused():
            return
        self._unset_keepalive_if_required()
        began_in_head = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._is_refused():
                return
            # The parser stopped after the headers. Read the request again as one that offers nothing, then its body.
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(head + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._refused:
                self.send_400_response("The request cannot be read as HTTP.")
        else:
            if self._in_head and began_in_head:  # headers that never end; the packet they began in may hold a body before them
                self._head_bytes += len(data)
                self._refuse_if(self._head_bytes > MAX_HEADER_BYTES)
            elif not self._in_head:  # trailers come as headers do
                self._refuse_if(len(self.headers) > MAX_HEADER_LINES)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.get_method() == b"CONNECT":  # whatever follows would be somebody else's protocol
            self.send_400_response("This server is no proxy: CONNECT is not served.")
            return
        headers = self.headers
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
        self._refuse_if(size > MAX_HEADER_BYTES or len(headers) > MAX_HEADER_LINES)
        if not self._refused and not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused and not self.parser.should_upgrade():
            super().on_message_complete()

    def _is_refused(self) -> bool:
        return self._refused

    def _refuse_if(self, too_large: bool) -> None:
        if too_large and not self._refused:
            self._answer(ProblemError("headers_too_large", PROBLEMS["headers_too_large"].meaning))

    def send_400_response(self, msg: str) -> None:
        """For uvicorn, too: what cannot be read as a request is answered as every other problem."""
        self._answer(ProblemError("request_malformed", msg))

    def _answer(self, problem: ProblemError) -> None:
        self._refused = True
        status, headers, body = encode_problem(problem, str(uuid7()))
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "connection: close", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _head_without_offer(self) -> bytes:
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name not in {b"upgrade", b"connection", b"http2-settings"}:
                head += [name, b": ", value, b"\r\n"]
        head.append(b"\r\n")
        return b"".join(head)
