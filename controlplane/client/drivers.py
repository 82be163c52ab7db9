"""The two ways to do what an exchange asks for: blocking, and on an event loop. All that differs between them is here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from controlplane.client.call import Answer, Call, Pages, Stream
from controlplane.client.configuration import Configuration
from controlplane.client.errors import TurnfleetError
from controlplane.client.event_stream import Following
from controlplane.client.exchange import Send, exchange

if TYPE_CHECKING:
    from httpx import Response

    from controlplane.client.transport import AwaitingTransport, BlockingTransport

T = TypeVar("T")
Told = Callable[[TurnfleetError], None]
"""Called once when a stream is interrupted; it is asked for again by itself."""


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

    def follow(self, stream: Stream[T]) -> Iterator[T]:
        return map(stream.decode, self.follow_raw(stream))

    def follow_raw(self, stream: Stream[Any], *, interrupted: Told = lambda _: None) -> Iterator[msgspec.Raw]:
        """Events as the API sent them, for ever. Raises TurnfleetError when it cannot begin, or must not go on."""
        following = Following(stream)
        while True:
            try:
                with closing(self._chunks(following)) as chunks:
                    for chunk in chunks:
                        yield from following.feed(chunk)
            except TurnfleetError as error:
                if following.lost(error):
                    interrupted(error)
            time.sleep(following.wait_seconds())

    def _chunks(self, following: Following) -> Generator[bytes, None, None]:
        """Of one connection, until it ends."""
        call = following.call()
        steps = exchange(call, self.configuration.retries)
        step, response = next(steps), None
        try:
            while True:
                if isinstance(step, Send):
                    outcome, response = self.transport.open(self.configuration, call)
                    step = steps.send(outcome)
                else:
                    time.sleep(step.seconds)
                    step = next(steps)
        except StopIteration as ended:
            answer = cast("Answer", ended.value)
        with closing(self.transport.chunks(self.configuration, cast("Response", response))) as chunks:
            following.begin(answer)
            yield from chunks

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

    async def follow(self, stream: Stream[T]) -> AsyncIterator[T]:
        async with aclosing(self.follow_raw(stream)) as events:
            async for raw in events:
                yield stream.decode(raw)

    async def follow_raw(self, stream: Stream[Any], *, interrupted: Told = lambda _: None) -> AsyncGenerator[msgspec.Raw, None]:
        """Events as the API sent them, for ever. Raises TurnfleetError when it cannot begin, or must not go on."""
        following = Following(stream)
        while True:
            try:
                async with aclosing(self._chunks(following)) as chunks:
                    async for chunk in chunks:
                        for raw in following.feed(chunk):
                            yield raw
            except TurnfleetError as error:
                if following.lost(error):
                    interrupted(error)
            await asyncio.sleep(following.wait_seconds())

    async def _chunks(self, following: Following) -> AsyncGenerator[bytes, None]:
        """Of one connection, until it ends."""
        call = following.call()
        steps = exchange(call, self.configuration.retries)
        step, response = next(steps), None
        try:
            while True:
                if isinstance(step, Send):
                    outcome, response = await self.transport.open(self.configuration, call)
                    step = steps.send(outcome)
                else:
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
        except StopIteration as ended:
            answer = cast("Answer", ended.value)
        async with aclosing(self.transport.chunks(self.configuration, cast("Response", response))) as chunks:
            following.begin(answer)
            async for chunk in chunks:
                yield chunk

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
