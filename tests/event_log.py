"""Fleet events that a test writes by itself, and a reader of the live stream that knows nothing of our client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import httpx

from tests.running_api import RunningApi

STREAM = "/api/v1/fleet/events/stream"
_INSERT = """INSERT INTO fleet_events (happened_at, kind, region, node_id, was, became, reason, detail)
    SELECT coalesce($1, now()), $2, $3, $4, $5, $6, $7, $8 FROM generate_series(1, $9) RETURNING id"""


async def write(
    connection: Any,
    count: int = 1,
    *,
    at: datetime | None = None,
    kind: str = "node.health",
    region: str | None = "eu-central",
    node_id: Any = None,
    was: str | None = "up",
    became: str | None = "down",
    reason: str = "lease_expired",
    detail: str = "",
) -> list[int]:
    """Their ids."""
    rows = await connection.fetch(_INSERT, at, kind, region, node_id, was, became, reason, detail, count)
    return [row["id"] for row in rows]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(slots=True)
class Block:
    """One block of a stream."""

    id: int | None = None
    event: str = ""
    retry: int | None = None
    comment: str = ""
    data: str = ""

    @property
    def view(self) -> dict[str, Any]:
        return dict(json.loads(self.data))


def parse(text: str) -> Block:
    block = Block()
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.strip()
        match name:
            case "id":
                block.id = int(value)
            case "event":
                block.event = value
            case "retry":
                block.retry = int(value)
            case "data":
                block.data = value
            case "":
                block.comment = value
            case _:
                raise AssertionError(line)
    return block


@dataclass(slots=True)
class Reader:
    response: httpx.Response
    blocks: list[Block] = field(default_factory=list)
    """All that were read."""
    _texts: AsyncIterator[str] | None = None
    _pending: str = ""

    async def read(self) -> AsyncIterator[Block]:
        """The next blocks. It may be left and called again."""
        self._texts = self._texts or self.response.aiter_text()
        while True:
            while "\n\n" in self._pending:
                text, _, self._pending = self._pending.partition("\n\n")
                self.blocks.append(parse(text))
                yield self.blocks[-1]
            more = await anext(self._texts, None)
            if more is None:
                return
            self._pending += more

    async def until_end(self) -> list[Block]:
        async with asyncio.timeout(20):
            async for _ in self.read():
                pass
        return self.blocks

    async def ids(self, count: int) -> list[int]:
        """Of that many events."""
        found: list[int] = []
        async with asyncio.timeout(20):
            async for block in self.read():
                if block.data:
                    assert block.id is not None
                    found.append(block.id)
                if len(found) == count:
                    return found
        raise AssertionError(f"The stream ended after {found}.")


@asynccontextmanager
async def listening(
    api: RunningApi, *, after: int | str | None = None, token: str = "operator", **query: str
) -> AsyncIterator[Reader]:
    """An answered stream, on a connection of its own."""
    headers = api.bearer(token) | ({} if after is None else {"last-event-id": str(after)})
    async with (
        httpx.AsyncClient(base_url=api.url, timeout=20, trust_env=False) as client,
        client.stream("GET", STREAM, headers=headers, params=query) as response,
    ):
        if response.status_code != 200:
            await response.aread()
        yield Reader(response)
