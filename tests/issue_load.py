"""Load on the issuing route: a client that costs little itself, open loop or closed, and keeps what was answered."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

_TIMEOUT_SECONDS = 5.0


@dataclass(slots=True)
class Answers:
    """What came back. Times in seconds."""

    credential_ids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    """When each of `seconds` began."""

    def percentile(self, share: float) -> float:
        return _percentile(self.seconds, share)

    def usual_percentile(self, share: float, *, window_seconds: float = 5.0) -> float:
        """The median, over windows of that length, of the window's percentile.

        One stall of a shared machine spoils one window; what is slow all the time is slow in each of them.
        """
        first = min(self.began)
        windows: dict[int, list[float]] = {}
        for began, seconds in zip(self.began, self.seconds, strict=True):
            windows.setdefault(int((began - first) / window_seconds), []).append(seconds)
        return statistics.median(_percentile(each, share) for each in windows.values())


def _percentile(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class IssueConnection:
    """One keep-alive connection that asks for credentials."""

    def __init__(self, url: str, token: str, body: bytes = b"") -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._request = (
            f"POST /api/v1/credentials/ice HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, answers: Answers, *, since: float | None = None) -> bool:
        """One request. True when credentials came; anything else is kept as a failure. `since`: when it was due."""
        started = time.perf_counter() if since is None else since
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                head = await self._exchange()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            answers.failures.append(f"{type(error).__name__}: {error}")
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            answers.failures.append(head.split(b"\r\n")[0].decode())
            return False
        answers.began.append(started)
        answers.seconds.append(time.perf_counter() - started)
        answers.credential_ids.append(head.split(b"x-credential-id: ")[1][:36].decode())
        return True

    async def _exchange(self) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return head

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def open_loop(url: str, token: str, *, per_second: float, seconds: float, connections: int = 16) -> Answers:
    """Requests at a fixed rate, whatever the answers take: a stall is counted by everybody who was due in it."""
    answers = Answers()
    free: asyncio.Queue[IssueConnection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(IssueConnection(url, token))
    began = time.perf_counter()

    async def one(due: float) -> None:
        connection = await free.get()
        await connection.ask(answers, since=due)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    while not free.empty():
        free.get_nowait().close()
    return answers


async def closed_loop(
    url: str, token: str, *, until: Callable[[Answers], bool], connections: int = 8, body: bytes = b""
) -> Answers:
    """As fast as it is answered, until the condition holds. A failure is tried again a moment later."""
    answers = Answers()

    async def keep_asking() -> None:
        connection = IssueConnection(url, token, body)
        while not until(answers):
            if not await connection.ask(answers):
                await asyncio.sleep(0.02)
        connection.close()

    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    return answers


async def while_loaded(load: Coroutine[object, object, Answers], *steps: Callable[[], Awaitable[None]]) -> Answers:
    """Run the steps one after the other while the load goes on."""

    async def one_after_the_other() -> None:
        for step in steps:
            await step()

    async with asyncio.TaskGroup() as tasks:  # a load that dies ends the steps, and the other way round
        running = tasks.create_task(load)
        tasks.create_task(one_after_the_other())
    return running.result()
