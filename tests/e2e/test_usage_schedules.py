"""Seeded schedules of SIGKILL while real clients relay: every allocation once, and as many bytes as coturn said."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
import psutil
import pytest
import pytest_asyncio

from controlplane.turn.client import TurnClient, TurnError
from controlplane.wire.redacted import Redacted
from deploy.local.stack import Stack
from tests.e2e.application import Application, server_of
from tests.e2e.fresh_stack import fresh_stack
from tests.e2e.usage_told import LogKeeper, Relayed, differences, relayed, watching
from tests.running_api import until

_CALLERS = 4
_CALLS_AT_LEAST = 8
_STASH = 40
_CALL_SECONDS = 4.0
_PAUSE_SECONDS = 0.05
_TELLS_WITHIN_SECONDS = 3.0
"""coturn ends an allocation that was given back in its next round, and tells its bytes then."""
_NODE = "eu-central-1"
_SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(3, 50))]


@dataclass(slots=True)
class Call:
    """What a client put through its allocation."""

    credential_id: UUID
    began_at: float
    payload_bytes: int = 0
    released_at: float | None = None
    """coturn confirmed the end, and tells all of it about a second later."""


class Callers:
    """Clients that allocate, relay a known number of bytes there and back, and end in different ways."""

    def __init__(self, stack: Stack, generator: random.Random, peer: tuple[str, int]) -> None:
        self._application = Application(stack)
        self._generator = generator
        self._peer = peer
        self._issued: asyncio.Queue[httpx.Response] = asyncio.Queue(_STASH)
        self._left: list[TurnClient] = []
        self.calls: list[Call] = []

    @property
    def released(self) -> int:
        return sum(call.released_at is not None for call in self.calls)

    async def run(self, over: asyncio.Event) -> None:
        """Until it is over, and on until enough calls went all the way."""
        issuing = asyncio.create_task(self._keep_issued())
        await asyncio.gather(*(self._caller(over) for _ in range(_CALLERS)))
        issuing.cancel()

    async def _caller(self, over: asyncio.Event) -> None:
        while not over.is_set() or self.released < _CALLS_AT_LEAST:
            try:
                await self._call(await self._issued.get())
            except (OSError, TurnError, TimeoutError):
                # Something is away just now, or was in the middle of the call: that is what the test is about.
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _keep_issued(self) -> None:
        """Some credentials ahead, so that there are calls while the API is away, too."""
        while True:
            room, client = f"room-{self._generator.randrange(4)}", f"client-{self._generator.randrange(6)}"
            with suppress(httpx.TransportError):
                answer = await self._application.issue(room=room, initiator_client=client, receiver_client="callee")
                if answer.status_code == httpx.codes.OK:
                    await self._issued.put(answer)
                    continue
            await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        for client in self._left:
            client.close()
        await self._application.client.aclose()

    async def _call(self, answer: httpx.Response) -> None:
        generator = self._generator
        transport = generator.choice(["udp", "udp", "tcp"])
        server = server_of(answer, transport)
        _, host, rest = server.url.split(":")
        port = int(rest.partition("?")[0])
        call = Call(UUID(answer.headers["x-credential-id"]), began_at=time.monotonic())
        turn = TurnClient(username=server.username, password=Redacted(server.credential))
        ending = generator.choice(["release", "release", "drop", "leave"])
        packets, size = generator.randint(1, 60), generator.randint(8, 1000) // 4 * 4
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await (turn.connect_udp(host, port) if transport == "udp" else turn.connect_tcp(host, port))
                await turn.allocate()
                self.calls.append(call)
                await turn.bind(self._peer)
                for number in range(packets):
                    await turn.exchange(number.to_bytes(4, "big") + bytes(size - 4))
                    call.payload_bytes += size
                if ending == "release":
                    await turn.release()
                    call.released_at = time.monotonic()
        finally:
            if ending == "leave":
                self._left.append(turn)  # it lives on, and is cut off at the end
            else:
                turn.close()


class Mischief:
    """Things are killed, and started again a moment later."""

    def __init__(self, stack: Stack, generator: random.Random) -> None:
        self._stack = stack
        self._node = stack.nodes[_NODE]
        self._generator = generator
        self.log_file = Path(stack.options.nodes) / _NODE / "coturn" / "turn.log"
        self.done: list[str] = []
        self.coturn_ended_at: list[float] = []
        self._acts: dict[str, Callable[[], Awaitable[None]]] = {
            "agent": self._kill_agent,
            "api": lambda: self._kill("api"),
            "jobs": lambda: self._kill("jobs"),
            "redis": lambda: self._kill("redis"),
            "coturn": self._end_coturn,
            "rotation": self._rotate,
        }
        self._one_at_a_time = {act: asyncio.Lock() for act in self._acts}

    async def run(self, over: asyncio.Event) -> None:
        """Each act once and two once more, in an order and at moments of their own, whether the one before is over or not."""
        deck = [*self._acts, *self._generator.sample(list(self._acts), 2)]
        self._generator.shuffle(deck)
        async with asyncio.TaskGroup() as group:
            for act in deck:
                await asyncio.sleep(self._generator.uniform(0.05, 1.0))
                group.create_task(self._act(act))
        over.set()

    async def _act(self, act: str) -> None:
        async with self._one_at_a_time[act]:
            self.done.append(act)
            await self._acts[act]()

    async def _kill(self, name: str) -> None:
        service = self._stack.parts.services[name]
        await service.stop_abruptly()
        await asyncio.sleep(self._generator.uniform(0, 0.5))
        await service.start()

    async def _kill_agent(self) -> None:
        await self._node.agent.stop_abruptly()
        await asyncio.sleep(self._generator.uniform(0, 0.5))
        await self._node.agent.start()

    async def _end_coturn(self) -> None:
        pid = self._node.coturn_pid
        if pid is not None:
            os.kill(pid, self._generator.choice([signal.SIGKILL, signal.SIGTERM]))
            self.coturn_ended_at.append(time.monotonic())

    async def _rotate(self) -> None:
        """As logrotate does it: another name, an empty file with the same owner, SIGHUP."""
        pid, log_file = self._node.coturn_pid, self.log_file
        if pid is None:
            return
        was = log_file.stat()
        log_file.rename(log_file.with_name(f"{log_file.name}-{time.time_ns()}"))
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchown(descriptor, was.st_uid, was.st_gid)
        os.fchmod(descriptor, was.st_mode & 0o777)
        os.close(descriptor)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


@pytest_asyncio.fixture(scope="module", loop_scope="session", name="stack")
async def own_stack() -> AsyncIterator[Stack]:
    """What is counted here is all that ever relayed in it."""
    async with fresh_stack() as running:
        yield running


@pytest.fixture(scope="module")
def keepers(stack: Stack) -> Iterator[list[LogKeeper]]:
    """Of every node. On the file system of the logs, for they are kept by a second name."""
    folder = Path(tempfile.mkdtemp(prefix="kept-logs-", dir=stack.options.state))
    yield [LogKeeper(stack.options.nodes / name / "coturn" / "turn.log", folder / name) for name in stack.nodes]
    shutil.rmtree(folder)


@pytest.mark.parametrize("seed", _SEEDS)
async def test_every_allocation_once_and_every_byte_that_coturn_told(stack: Stack, keepers: list[LogKeeper], seed: int) -> None:
    generator = random.Random(seed)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    callers = Callers(stack, generator, transport.get_extra_info("sockname"))
    mischief = Mischief(stack, generator)
    began = time.monotonic()
    with watching(keepers):
        over = asyncio.Event()
        await asyncio.gather(mischief.run(over), callers.run(over))
        await callers.close()
        transport.close()
        await _restored(stack)
        found: list[str] = []

        async def all_equal() -> bool:
            told = relayed(keepers)
            found[:] = missing(callers.calls, told, mischief.coturn_ended_at)
            found.extend(await differences(stack.parts.postgres.url, told))
            return not found

        try:
            took = await until(all_equal, within_seconds=40)
        except AssertionError:
            raise AssertionError(f"after {mischief.done}: " + "\n".join(found[:20])) from None
        told = relayed(keepers)
    assert callers.released >= _CALLS_AT_LEAST
    total = sum(each.bytes_from_client + each.bytes_to_client for each in told.values())
    print(
        f"seed {seed}: {mischief.done}; {len(callers.calls)} calls, {len(told)} allocations and {total} bytes so far,"
        f" equal after {took:.1f} s, {time.monotonic() - began:.1f} s in all"
    )


def missing(calls: list[Call], told: dict[tuple[str, str], Relayed], coturn_ended_at: list[float]) -> list[str]:
    """Of what clients put through allocations that they gave back; a coturn that is killed does not tell of the last second."""
    by_credential = {each.credential_id: each for each in told.values()}
    found = []
    for call in calls:
        if call.released_at is None or any(
            call.began_at <= at <= call.released_at + _TELLS_WITHIN_SECONDS for at in coturn_ended_at
        ):
            continue
        said = by_credential.get(call.credential_id)
        if said is None or min(said.bytes_from_client, said.bytes_to_client) <= call.payload_bytes:
            found.append(f"{call} was relayed, and coturn said {said}")
    return found


async def _restored(stack: Stack) -> None:
    """Everything runs again, for the next schedule."""

    async def runs() -> bool:
        node = stack.nodes[_NODE]
        return node.coturn_pid is not None and psutil.pid_exists(node.coturn_pid) and node.status()["coturn_state"] == "running"

    await until(runs, within_seconds=20, what="coturn runs again")
