"""Many agents in one process, cheap enough that they do not slow what is measured: the real protocol over HTTP, no coturn.

    python -m tests.many_agents http://127.0.0.1:PORT NAME < join-tokens

One agent for each join token, a line each, called NAME-1, NAME-2 …
Prints `joined` when all have an identity; then they beat until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from typing import TypeVar

import msgspec

from agents.backoff import asked_delay, full_jitter, heartbeat_delay
from agents.link import JOIN_SECONDS, TRY_SECONDS
from controlplane.wire import agent_api
from controlplane.wire.agent_api import secret_digest

_JOINING_AT_ONCE = 16
_IDLE = agent_api.Load(
    receive_bits_per_second=1e6,
    transmit_bits_per_second=1e6,
    receive_packets_per_second=500,
    transmit_packets_per_second=500,
    allocations=10,
    cpu_ratio=0.01,
    memory_ratio=0.1,
    open_files=20,
    open_files_limit=1024,
)
_CAPACITY = agent_api.Capacity(bits_per_second=1e12, allocations=10_000_000, source="stated")

T = TypeVar("T")


class _Refused(Exception):  # noqa: N818 - read as a sentence where it is caught
    def __init__(self, status: int, retry_after_seconds: float | None) -> None:
        super().__init__(f"status {status}")
        self.retry_after_seconds = retry_after_seconds


class Agent:
    def __init__(self, origin: str, name: str) -> None:
        self._host, port = origin.removeprefix("http://").split(":")
        self._port = int(port)
        self._name = name
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._token = ""
        self._secrets: dict[int, str] = {}
        self._sequence = 0

    async def join(self, join_token: str) -> None:
        request = agent_api.JoinRequest(join_token=join_token, join_nonce=f"nonce-of-{self._name}", name=self._name)
        self._token = (await self._post("join", request, agent_api.JoinReply, JOIN_SECONDS)).node_token

    async def run(self) -> None:
        """Never returns: beats, and waits as an agent does after each outcome."""
        failures, interval, asked = 0, 2.0, None
        await asyncio.sleep(full_jitter(1, random.random(), base_seconds=interval, cap_seconds=interval))
        while True:
            began = time.monotonic()
            try:
                reply = await self._post("heartbeat", self._heartbeat(), agent_api.HeartbeatReply, TRY_SECONDS)
            except (OSError, EOFError, ValueError, _Refused) as error:
                asked = error.retry_after_seconds if isinstance(error, _Refused) else None
                self._close()
                failures += 1
            else:
                failures, interval, asked = 0, reply.interval_seconds, None
                if reply.secrets is not None:
                    self._secrets = {each.version: each.secret for each in reply.secrets}
            await asyncio.sleep(asked_delay(asked, random.random()))
            delay = heartbeat_delay(failures, random.random(), interval_seconds=interval)
            await asyncio.sleep(max(0.0, delay - (time.monotonic() - began)))

    def _heartbeat(self) -> agent_api.Heartbeat:
        self._sequence += 1
        host = f"{self._name}.example.org"
        return agent_api.Heartbeat(
            boot_id=f"boot-of-{self._name}",
            sequence=self._sequence,
            sent_at=time.time(),
            coturn=agent_api.Coturn(state="running", version="4.6.1", boot_id=f"coturn-of-{self._name}"),
            load=_IDLE,
            capacity=_CAPACITY,
            listeners=[
                agent_api.Listener(transport="udp", host=host, port=3478),
                agent_api.Listener(transport="tcp", host=host, port=3478),
                agent_api.Listener(transport="tls", host=host, port=5349),
            ],
            secrets=[
                agent_api.LoadedSecret(version=version, digest=secret_digest(text)) for version, text in self._secrets.items()
            ],
            probe=agent_api.Probe(ok=True, age_seconds=0.5, listeners=[]),
        )

    async def _post(self, path: str, body: msgspec.Struct, kind: type[T], seconds: float) -> T:
        """One try on a connection that is kept. Raises OSError, EOFError, ValueError or _Refused."""
        content = msgspec.json.encode(body)
        authorization = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        head = f"POST /api/v1/agents/{path} HTTP/1.1\r\nHost: api\r\n{authorization}Content-Length: {len(content)}\r\n\r\n"
        async with asyncio.timeout(seconds):
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(head.encode() + content)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            answer = await reader.readexactly(int(headers.get("content-length", "0")))
        status = int(lines[0].split()[1])
        if status != 200:
            after = headers.get("retry-after", "")
            raise _Refused(status, float(after) if after.isdigit() else None)
        return msgspec.json.decode(answer, type=kind)

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def run_agents(origin: str, prefix: str, join_tokens: list[str]) -> None:
    agents = [Agent(origin, f"{prefix}-{number}") for number in range(1, len(join_tokens) + 1)]
    few = asyncio.Semaphore(_JOINING_AT_ONCE)

    async def join(agent: Agent, token: str) -> None:
        async with few:
            await agent.join(token)

    async with asyncio.TaskGroup() as joining:
        for agent, token in zip(agents, join_tokens, strict=True):
            joining.create_task(join(agent, token))
    print("joined", flush=True)
    async with asyncio.TaskGroup() as beating:
        everybody = [beating.create_task(agent.run()) for agent in agents]
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        for each in everybody:
            each.cancel()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_agents(sys.argv[1], sys.argv[2], sys.stdin.read().split()))
