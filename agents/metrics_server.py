"""Answers scrapes of the agent's metrics: one request for each connection, few connections, and a deadline for each.

Small on purpose. Whoever reaches the port may do what it likes there, and the relay goes on: at most MOST_CONNECTIONS are open,
each for CONNECTION_SECONDS, and the page is made once a second at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from agents.metrics import CONTENT_TYPE

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

PATH = "/metrics"
MOST_CONNECTIONS = 8
"""A scraper needs one; two that watch each other's failure need two."""
CONNECTION_SECONDS = 5.0
"""From its acceptance to its end: Prometheus itself gives up after 10 unless told otherwise."""
MOST_HEAD_BYTES = 8192
PAGE_SECONDS = 1.0
"""For so long a page is as good as a new one: a flood of scrapes costs one page a second."""
AGAIN_SECONDS = 10.0
"""Between two tries to listen: a port that is taken must not end the relay."""


class MetricsServer:
    """`page` makes the page."""

    def __init__(self, *, host: str, port: int, page: Callable[[], str]) -> None:
        self._host = host
        self._port = port
        self._make_page = page
        self._page = b""
        self._page_at = float("-inf")
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Never returns; ends by cancellation, and all its connections with it."""
        try:
            server = await self._listening()
            try:
                await server.serve_forever()
            finally:
                server.close()
        finally:
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _listening(self) -> asyncio.Server:
        told = ""
        while True:
            try:
                server = await asyncio.start_server(self._accepted, self._host, self._port, limit=MOST_HEAD_BYTES)
            except OSError as error:
                if str(error) != told:
                    told = str(error)
                    log.error(  # noqa: TRY400 - a sentence
                        "metrics_not_served", host=self._host, port=self._port, reason=error.strerror or str(error)
                    )
            else:
                log.info("metrics_served", host=self._host, port=self._port)
                return server
            await asyncio.sleep(AGAIN_SECONDS)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._answer_one(reader, writer), name="metrics-scrape")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(CONNECTION_SECONDS):
                    writer.write(await self._answer(reader))
                    writer.close()
                    await writer.wait_closed()
        finally:
            # Whatever is left of it: nothing waits for a reader that does not read.
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response("431 Request Header Fields Too Large", "The request is too long.\n")
        except asyncio.IncompleteReadError:
            return b""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path != PATH:
            return _response("404 Not Found", f"The metrics are at {PATH}.\n")
        if method not in {"GET", "HEAD"}:
            return _response("405 Method Not Allowed", "Ask with GET.\n", "allow: GET, HEAD\r\n")
        now = time.monotonic()
        if now - self._page_at >= PAGE_SECONDS:
            try:
                self._page, self._page_at = self._make_page().encode(), now
            except Exception:
                log.exception("metrics_not_made")
                return _response("500 Internal Server Error", "The agent's log has the reason.\n")
        head_of_it = _head("200 OK", CONTENT_TYPE, len(self._page))
        return head_of_it if method == "HEAD" else head_of_it + self._page


def _response(status: str, text: str, more: str = "") -> bytes:
    return _head(status, "text/plain; charset=utf-8", len(text), more) + text.encode()


def _head(status: str, content_type: str, size: int, more: str = "") -> bytes:
    fields = f"content-type: {content_type}\r\ncontent-length: {size}\r\n{more}connection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode()
