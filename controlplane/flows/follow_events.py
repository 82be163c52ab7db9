"""Fleet events as they happen: while somebody listens, one reader per process asks PostgreSQL, and gives each event to all who do.

Nothing is lost or doubled, because ids become visible in their order: one transaction at a time inserts events (a trigger of
fleet_events sees to it). So an id says exactly what its reader has had, here and in a client's Last-Event-ID.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.event_log import LoggedEvent, LogPlace, events_after, log_place

READ_SECONDS = 0.4
"""From its commit an event reaches the streams within this and a query; half of it on average."""
LIFE_SECONDS = 120.0
"""A stream ends by then, so that it moves to another process now and then; its client comes back where it was."""
MAX_STREAMS = 200
MAX_BEHIND = 1000
"""Further back than this, a client is better off with the list."""
MAX_WAITING = 2 * MAX_BEHIND
"""Frames that a client has not taken yet: all that it may be behind, and as many that happen meanwhile."""
_BATCH = 500
_LAST_WORDS_SECONDS = 3.0
"""For a client to read its stream's end: the process' own end waits for it. Then the connection is cut."""
_SLOW_SECONDS = 30.0
"""The same for a client that was too slow, which has much to read before it."""

Missed = Literal["too_old", "too_far_behind", "too_slow", "unknown_id"]

log = structlog.get_logger()


class StreamsExhaustedError(Exception):
    """This process has as many streams as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What is None is no filter."""

    node: str | None = None
    """Id or name."""
    region: str | None = None
    kind: str | None = None

    def takes(self, event: LoggedEvent) -> bool:
        return (
            (self.node is None or (event.node_id is not None and self.node in {event.node, str(event.node_id)}))
            and (self.region is None or self.region == event.region)
            and (self.kind is None or self.kind == event.kind)
        )


class EventStream:
    """What one client is still to be sent."""

    def __init__(self, wanted: EventFilter, *, position: int, missed: Missed | None = None) -> None:
        self.position = position
        """Every wanted event up to this id was given."""
        self.missed = missed
        """Why the client must reload; None: it has missed nothing."""
        self.ended = missed is not None
        self.abort: Callable[[], None] | None = None
        """Cuts the connection under it, whatever is still to be sent."""
        self._wanted = wanted
        self._frames: list[bytes] = []
        self._woken = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []

    def give(self, events: Sequence[tuple[LoggedEvent, bytes]]) -> None:
        """Events after those given before, each with the frame that it is sent as."""
        for event, frame in events:
            if event.id > self.position and not self.ended:
                self.position = event.id
                if self._wanted.takes(event):
                    self._frames.append(frame)
                    self._woken.set()
        if len(self._frames) > MAX_WAITING:
            self._frames.clear()
            self.missed = "too_slow"
            self.end(_SLOW_SECONDS)

    async def take(self, within_seconds: float) -> bytes:
        """The frames that wait; nothing when none came within that time, or at the end."""
        if not self.ended:
            try:
                async with asyncio.timeout(within_seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass
        return self.rest()

    def rest(self) -> bytes:
        """The frames that wait now."""
        self._woken.clear()
        taken, self._frames = b"".join(self._frames), []
        return taken

    def end(self, last_words_seconds: float = _LAST_WORDS_SECONDS) -> None:
        """Nothing more is given. A client that has not read all by then is cut off."""
        self.ended = True
        self._woken.set()
        self.after(last_words_seconds, self._cut)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, what))

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _cut(self) -> None:
        if self.abort is not None:
            self.abort()


class EventFollower:
    """All streams of this process, and their one reader."""

    def __init__(
        self,
        database: Database,
        frame_of: Callable[[LoggedEvent], bytes],
        *,
        max_streams: int = MAX_STREAMS,
        life_seconds: float = LIFE_SECONDS,
    ) -> None:
        self._database = database
        self._frame_of = frame_of
        self._max_streams = max_streams
        self._life_seconds = life_seconds
        self._streams: set[EventStream] = set()
        self._listened_to = asyncio.Event()
        self._failing = False
        self._stopping = False

    @property
    def streams(self) -> int:
        return len(self._streams)

    async def open(self, wanted: EventFilter, *, after_id: int | None) -> EventStream:
        """A stream of what happens after that event, or from now on. `close` it.

        Raises StreamsExhaustedError or DatabaseUnavailableError.
        """
        self._check_room()
        place = await log_place(self._database, after_id or 0, count_up_to=0 if after_id is None else MAX_BEHIND + 1)
        self._check_room()
        missed = None if after_id is None else _missed(after_id, place)
        position = after_id if after_id is not None and missed is None else place.newest_id
        stream = EventStream(wanted, position=position, missed=missed)
        self._streams.add(stream)
        stream.after(self._life_seconds, stream.end)
        if self._stopping or stream.ended:
            stream.end()
        self._listened_to.set()
        return stream

    def close(self, stream: EventStream) -> None:
        self._streams.discard(stream)
        stream.close()

    def stop(self) -> None:
        """End every stream, also those that are opened from now on: the process wants to end."""
        self._stopping = True
        for stream in self._streams:
            stream.end()

    async def run(self) -> None:
        while True:
            await self._listened_to.wait()
            if not await self._read():
                await asyncio.sleep(READ_SECONDS)

    async def _read(self) -> bool:
        """Whether there may be more at once."""
        streams = [stream for stream in self._streams if not stream.ended]
        if not streams:
            self._listened_to.clear()
            return True
        try:
            # Who came last may have to catch up; the others skip what they have had. One that comes during the query waits.
            events = await events_after(self._database, min(stream.position for stream in streams), rows=_BATCH)
        except DatabaseUnavailableError as error:
            if not self._failing:
                log.warning("events_not_read", reason=str(error))
            self._failing = True
            return False
        self._failing = False
        framed = [(event, self._frame_of(event)) for event in events]
        for stream in streams:
            stream.give(framed)
        return len(events) == _BATCH

    def _check_room(self) -> None:
        if len(self._streams) >= self._max_streams:
            raise StreamsExhaustedError


def _missed(after_id: int, place: LogPlace) -> Missed | None:
    if after_id > place.newest_id:
        return "unknown_id"
    if after_id < place.forgotten_id:
        return "too_old"
    return "too_far_behind" if place.later > MAX_BEHIND else None
