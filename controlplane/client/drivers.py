"""The two ways to do what an exchange asks for: blocking, and on an event loop. All that differs between them is here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from controlplane.client.call import Answer, Call, Pages
from controlplane.client.configuration import Configuration
from controlplane.client.exchange import Send, exchange

if TYPE_CHECKING:
    from controlplane.client.transport import AwaitingTransport, BlockingTransport

T = TypeVar("T")


class Blocking:
    """Runs calls on the caller's thread. Threads may share it."""

    def __init__(self, configuration: Configuration, transport: BlockingTransport) -> None:
        self.configuration = configuration
        self.transport = transport

    def run(self, call: Call[T]) -> T:
        return call.read(self.answer(call))

    def each(self, pages: Pages[T]) -> Iterator[T]:
        return map(pages.decode, self.each_raw(pages))

    def each_raw(self, pages: Pages[Any]) -> Iterator[msgspec.Raw]:
        """Items as the API sent them; the next page is asked for when it is needed."""
        page = self.run(pages.at(None))
        yield from page.items
        while page.next_cursor is not None:
            page = self.run(pages.at(page.next_cursor))
            yield from page.items

    def answer(self, call: Call[Any]) -> Answer:
        """The good answer, undecoded. Raises TurnfleetError."""
        steps = exchange(call, self.configuration.retries)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    step = steps.send(self.transport.attempt(self.configuration, call))
                else:
                    time.sleep(step.seconds)
                    step = next(steps)
        except StopIteration as ended:
            return cast("Answer", ended.value)


class Awaiting:
    """Runs calls on the event loop that awaits them."""

    def __init__(self, configuration: Configuration, transport: AwaitingTransport) -> None:
        self.configuration = configuration
        self.transport = transport

    async def run(self, call: Call[T]) -> T:
        return call.read(await self.answer(call))

    async def each(self, pages: Pages[T]) -> AsyncIterator[T]:
        async for raw in self.each_raw(pages):
            yield pages.decode(raw)

    async def each_raw(self, pages: Pages[Any]) -> AsyncIterator[msgspec.Raw]:
        """Items as the API sent them; the next page is asked for when it is needed."""
        page = await self.run(pages.at(None))
        for raw in page.items:
            yield raw
        while page.next_cursor is not None:
            page = await self.run(pages.at(page.next_cursor))
            for raw in page.items:
                yield raw

    async def answer(self, call: Call[Any]) -> Answer:
        """The good answer, undecoded. Raises TurnfleetError."""
        steps = exchange(call, self.configuration.retries)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Send):
                    step = steps.send(await self.transport.attempt(self.configuration, call))
                else:
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
        except StopIteration as ended:
            return cast("Answer", ended.value)
