"""The parts of a stack: made together, ended in the reverse order of their start, stopped and started one by one on request."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from deploy.local.certificates import Certificates
from deploy.local.control_plane import ControlPlane, StackFailed
from deploy.local.layout import StackOptions, node_names
from deploy.local.node import LocalNode
from deploy.local.postgres import PostgresServer
from deploy.local.redis_server import RedisServer
from deploy.local.service import Service

__all__ = ["NoSuchPart", "Parts"]


class NoSuchPart(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """There is no part of that name."""


class Parts:
    """Nothing runs until it is started, and nothing is started again once `end` was called."""

    def __init__(self, options: StackOptions, certificates: Certificates, *, changed: Callable[[], None]) -> None:
        ports = options.ports
        watched: dict[str, Any] = {"restart": options.restart, "say": options.say, "changed": changed}
        self.redis = RedisServer(options.state / "redis", ports.redis, log_file=options.logs / "redis.log", **watched)
        self.postgres = PostgresServer(
            options.state / "postgres",
            ports.postgres,
            durable=options.durable,
            password=True,
            log_file=options.logs / "postgres.log",
            **watched,
        )
        self.control_plane = ControlPlane(
            options,
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            relay_ca_file=certificates.authority,
            changed=changed,
        )
        self.api, self.jobs = self.control_plane.api, self.control_plane.jobs
        self.nodes = {named.name: LocalNode(options, named, certificates, changed=changed) for named in node_names(options)}
        # One request at a time, so that none works on what another has half done.
        self._order = asyncio.Lock()
        self._turn: asyncio.Task[str] | None = None
        self._is_closed = False

    @property
    def services(self) -> dict[str, Service]:
        parts = {"redis": self.redis.service, "postgres": self.postgres.service, "api": self.api, "jobs": self.jobs}
        return parts | {name: node.agent for name, node in self.nodes.items()}

    @property
    def pids(self) -> dict[str, int | None]:
        return {name: service.pid for name, service in self.services.items()}

    def rows(self) -> list[dict[str, Any]]:
        """One row per part, for `status`."""
        rows: list[dict[str, Any]] = []
        for name, service in self.services.items():
            row = {"name": name, "state": service.state.value, "pid": service.pid, "crash_count": service.crash_count}
            if name in self.nodes:
                row |= {"coturn_pid": self.nodes[name].coturn_pid, "region": self.nodes[name].region}
            rows.append(row)
        return rows

    async def stop_part(self, target: str) -> str:
        """Ends a part that stays dead until `start_part`. `NODE:agent` kills the agent and leaves its coturn alone."""
        name, only_agent = self._named(target)
        return await self._in_turn(self._stop(name, only_agent=only_agent))

    async def start_part(self, target: str) -> str:
        """Starts what `stop_part` ended; returns when it is ready."""
        name, _ = self._named(target)
        return await self._in_turn(self._start(name))

    async def end(self) -> list[BaseException]:
        """Ends everything; what went wrong at one part is handed back when all were seen to."""
        self._is_closed = True
        if self._turn is not None:
            self._turn.cancel()
        async with self._order:
            # First of all nothing is started again, so that nobody's end is taken for a crash.
            stages = (
                [service.hold() for service in self.services.values()],
                [node.stop() for node in self.nodes.values()],
                [self.jobs.stop(), self.api.stop()],
                [self.redis.stop(), self.postgres.stop()],
            )
            results = [result for stage in stages for result in await asyncio.gather(*stage, return_exceptions=True)]
        self.postgres.remove_socket_folder()
        return [result for result in results if result is not None]

    def kill_all(self) -> None:
        """For somebody who does not want to wait; `end` still has to be awaited."""
        for service in self.services.values():
            service.kill_at_once()

    async def _in_turn(self, work: Coroutine[Any, Any, str]) -> str:
        try:
            async with self._order:
                if self._is_closed:
                    raise StackFailed("everything is being stopped")
                self._turn = asyncio.create_task(work)
                try:
                    return await self._turn
                except asyncio.CancelledError:
                    if self._is_closed:
                        raise StackFailed("everything is being stopped") from None
                    raise
                finally:
                    self._turn = None
        finally:
            work.close()

    async def _stop(self, name: str, *, only_agent: bool) -> str:
        if only_agent:
            await self.nodes[name].agent.stop_abruptly()
            return f"the agent of {name} was killed; its coturn goes on (start {name} brings the agent back)"
        if name in self.nodes:
            await self.nodes[name].stop()
        else:
            await self.services[name].stop()
        return f"{name} is stopped until: start {name}"

    async def _start(self, name: str) -> str:
        began = time.monotonic()
        if name == "postgres":
            await self.postgres.start()
        else:
            await self.services[name].start()
        return f"{name} is ready ({time.monotonic() - began:.1f} s, pid {self.services[name].pid})"

    def _named(self, target: str) -> tuple[str, bool]:
        """The part, and whether only its agent is meant."""
        name, colon, inner = target.partition(":")
        if name in (self.nodes if colon else self.services) and inner == ("agent" if colon else ""):
            return name, bool(colon)
        raise NoSuchPart(f"there is no {target!r} here; parts are {', '.join(self.services)}, and NODE:agent")
