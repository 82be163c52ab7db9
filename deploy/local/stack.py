"""The whole of turnfleet on one machine: what starts in which order, when it is ready, how it ends."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from deploy.local.api_client import ApiClient
from deploy.local.certificates import ensure_certificates
from deploy.local.control_plane import ControlPlane, StackFailed
from deploy.local.layout import StackOptions, ensure_master_key, node_names
from deploy.local.logs import set_aside
from deploy.local.node import LocalNode
from deploy.local.ports import HOST
from deploy.local.postgres import PostgresServer
from deploy.local.records import Records, coturns_below, end_all, write_private
from deploy.local.redis_server import RedisServer
from deploy.local.regions import region_named
from deploy.local.service import Service

__all__ = ["NoSuchPart", "Stack", "StackFailed", "running_stack", "sweep"]

CALL_DEADLINE = timedelta(seconds=15)
FLEET_DEADLINE = timedelta(seconds=45)
# How soon a coturn that its agent replaced shows in ready.json.
NODE_POLL = timedelta(milliseconds=250)


class NoSuchPart(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """There is no part of that name."""


class Stack:
    """Built once, started once, stopped once. `tokens` and `ready` are there after `start`."""

    def __init__(self, options: StackOptions, *, lost: Callable[[], None] = lambda: None) -> None:
        """`lost` is called when the state folder is removed under a running stack: it should be stopped then."""
        self.options = options
        self.ports = options.ports
        self.tokens: dict[str, str] = {}
        self.ready: dict[str, Any] = {}
        self._say = options.say
        self._lost = lost
        self._records = Records(options.records_file)
        self._began = time.monotonic()
        self._watcher: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()
        options.logs.mkdir(parents=True, exist_ok=True)
        set_aside(options.logs)
        watched: dict[str, Any] = {"restart": options.restart, "say": options.say, "changed": self._changed}
        self.redis = RedisServer(options.state / "redis", self.ports.redis, log_file=options.logs / "redis.log", **watched)
        self.postgres = PostgresServer(
            options.state / "postgres",
            self.ports.postgres,
            durable=options.durable,
            password=True,
            log_file=options.logs / "postgres.log",
            **watched,
        )
        certificates = ensure_certificates(options.state / "tls")
        self.certificates = certificates
        self.control_plane = ControlPlane(options, database_url=self.postgres.url, redis_url=self.redis.url, changed=self._changed)
        self.api, self.jobs = self.control_plane.api, self.control_plane.jobs
        self.nodes = {named.name: LocalNode(options, named, certificates, changed=self._changed) for named in node_names(options)}

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports.api}"

    async def start(self) -> None:
        """Returns when a packet went through the relays; raises with nothing of it left running."""
        self._began = time.monotonic()
        try:
            await self._bring_up()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Everything, in the reverse order of its start. May be called at any time."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        self.options.ready_file.unlink(missing_ok=True)
        # From here on nothing is started again, so that nobody's end is taken for a crash.
        stages = (
            [service.hold() for service in self.services.values()],
            [node.stop() for node in self.nodes.values()],
            [self.jobs.stop(), self.api.stop()],
            [self.redis.stop(), self.postgres.stop()],
        )
        # Whatever becomes of one, the others are ended.
        results = [result for stage in stages for result in await asyncio.gather(*stage, return_exceptions=True)]
        self.postgres.remove_socket_folder()
        self._records.forget()
        for result in results:
            if result is not None:
                raise result

    def kill_all(self) -> None:
        """For somebody who does not want to wait; `stop` still has to be awaited."""
        for service in self.services.values():
            service.kill_at_once()

    @property
    def services(self) -> dict[str, Service]:
        parts = {"redis": self.redis.service, "postgres": self.postgres.service, "api": self.api, "jobs": self.jobs}
        return parts | {name: node.agent for name, node in self.nodes.items()}

    async def stop_part(self, target: str) -> str:
        """Ends a part that stays dead until `start_part`. `NODE:agent` kills the agent and leaves its coturn alone."""
        name, _, inner = target.partition(":")
        async with self._order:
            if inner == "agent" and name in self.nodes:
                await self.nodes[name].agent.stop_abruptly()
                return f"the agent of {name} was killed; its coturn goes on (start {name} brings the agent back)"
            if inner or name not in self.services:
                raise NoSuchPart(self._no_part(target))
            if name in self.nodes:
                await self.nodes[name].stop()
            else:
                await self.services[name].stop()
            return f"{name} is stopped until: start {name}"

    async def start_part(self, target: str) -> str:
        """Starts what `stop_part` ended; returns when it is ready."""
        name, _, inner = target.partition(":")
        async with self._order:
            if name not in self.services or inner not in {"", "agent"} or (inner and name not in self.nodes):
                raise NoSuchPart(self._no_part(target))
            began = time.monotonic()
            if name == "postgres":
                await self.postgres.start()
            else:
                await self.services[name].start()
            return f"{name} is ready ({time.monotonic() - began:.1f} s, pid {self.services[name].pid})"

    def rows(self) -> list[dict[str, Any]]:
        """One row per part, for `status`."""
        rows: list[dict[str, Any]] = []
        for name, service in self.services.items():
            row = {"name": name, "state": service.state.value, "pid": service.pid, "crash_count": service.crash_count}
            if name in self.nodes:
                row |= {"coturn_pid": self.nodes[name].coturn_pid, "region": self.nodes[name].region}
            rows.append(row)
        return rows

    def ready_document(self) -> dict[str, Any]:
        """What ready.json holds: a stable interface. A pid is null while that part is down."""
        api_pid = self.api.pid
        return {
            "api_url": self.api_url,
            "console_url": f"{self.api_url}/console",
            "metrics_url": f"http://{HOST}:{self.ports.metrics}/metrics",
            "ca_file": str(self.certificates.authority),
            "project_token": self.tokens["project_token"],
            "organization_token": self.tokens["organization_token"],
            "operator_token": self.tokens["operator_token"],
            "redis_url": self.redis.url,
            "database_url": self.postgres.url,
            "regions": list(self.options.regions),
            "nodes": [self._node_entry(node) for node in self.nodes.values()],
            "pids": {
                "api": [] if api_pid is None else [api_pid],
                "jobs": self.jobs.pid,
                "redis": self.redis.pid,
                "postgres": self.postgres.pid,
            },
        }

    async def _bring_up(self) -> None:
        await asyncio.to_thread(sweep, self.options, self._say)
        self.ports.require_free()
        ensure_master_key(self.options.master_key_file)
        self.options.nodes.mkdir(mode=0o755, exist_ok=True)
        with self._step("redis and postgres are ready"):
            await _together(self.redis.start, self.postgres.start)
        if self.postgres.is_fresh:
            # Tokens of a database that is gone would be kept, and refused, for ever.
            self.options.tokens_file.unlink(missing_ok=True)
        with self._step("the database is migrated"):
            await self.control_plane.migrate()
        with self._step("the API and the jobs are ready; organization, project and tokens exist"):
            await _together(self.control_plane.bootstrap, self.api.start, self.jobs.start)
        self.tokens = _read_tokens(self.options.tokens_file)
        async with self._client() as client:
            with self._step(f"{_counted(len(self.nodes), 'relay')} with agents joined"):
                await self._admit_nodes(client)
                await _together(*(node.agent.start for node in self.nodes.values()))
            with self._step("every node is eligible"):
                ids = {name: node.known_as or str(node.status()["node_id"]) for name, node in self.nodes.items()}
                await client.wait_for_nodes(ids, deadline=FLEET_DEADLINE)
                await self.control_plane.wait_until_ready()
            with self._step("a packet went through a relay of every region"):
                await asyncio.gather(*(client.check_region(region, deadline=FLEET_DEADLINE) for region in self.options.regions))
        self._write_ready()
        self._watcher = asyncio.create_task(self._watch_nodes(), name="watch nodes")

    async def _admit_nodes(self, client: ApiClient) -> None:
        await asyncio.gather(*(client.ensure_region(region_named(slug), deadline=CALL_DEADLINE) for slug in self.options.regions))
        known = {node["node_id"] for node in await client.nodes()}
        for node in self.nodes.values():
            if node.known_as not in known:
                node.forget_identity()
        fresh = [node for node in self.nodes.values() if node.known_as is None]
        tokens = await asyncio.gather(
            *(client.join_token(region=node.region, name=node.name, deadline=CALL_DEADLINE) for node in fresh)
        )
        for node, token in zip(fresh, tokens, strict=True):
            node.may_join_with(token)

    async def _watch_nodes(self) -> None:
        """Rewrites ready.json when a pid in it is no longer the one that runs."""
        while True:
            await asyncio.sleep(NODE_POLL.total_seconds())
            if not _exists(self.options.state):
                self._say(f"{self.options.state} was removed, so nobody could find this stack any more")
                self._lost()
                return
            if self.ready_document() != self.ready or not _exists(self.options.ready_file):
                self._write_ready()

    def _write_ready(self) -> None:
        self.ready = self.ready_document()
        write_private(self.options.ready_file, json.dumps(self.ready, indent=2))

    def _node_entry(self, node: LocalNode) -> dict[str, Any]:
        status = node.status()
        return {
            "node_id": node.known_as or status.get("node_id"),
            "region": node.region,
            "host": HOST,
            "port": node.ports.turn,
            "tls_port": node.ports.tls,
            "realm": status.get("realm"),
            "coturn_pid": node.coturn_pid,
            "agent_pid": node.agent.pid,
        }

    def _changed(self) -> None:
        if not self.options.state.is_dir():
            return  # Somebody removed it: _watch_nodes sees to that.
        self._records.write({name: service.pid for name, service in self.services.items()})

    def _client(self) -> ApiClient:
        return ApiClient(
            self.api_url,
            operator_token=self.tokens["operator_token"],
            project_token=self.tokens["project_token"],
        )

    @contextlib.contextmanager
    def _step(self, done: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        now = time.monotonic()
        self._say(f"[{now - self._began:4.1f} s] {done} ({now - began:.1f} s)")

    def _no_part(self, target: str) -> str:
        return f"there is no {target!r} here; parts are {', '.join(self.services)}, and NODE:agent"


def sweep(options: StackOptions, say: Callable[[str], None]) -> None:
    """Ends what a supervisor that died without stopping has left behind. Blocking."""
    records = Records(options.records_file)
    left = records.living()
    coturns = coturns_below(options.nodes)
    if left or coturns:
        names = [*left, *("coturn" for _ in coturns)]
        say(f"ending what an earlier run left behind: {', '.join(names)}")
        end_all([*left.values(), *coturns])
        # An agent that was asked to end may have been about to start its coturn.
        end_all(coturns_below(options.nodes))
    records.forget()


@contextlib.asynccontextmanager
async def running_stack(options: StackOptions) -> AsyncIterator[Stack]:
    """A ready stack for tests, gone at the end."""
    stack = Stack(options)
    await stack.start()
    try:
        yield stack
    finally:
        await stack.stop()


async def _together(*starts: Callable[[], Awaitable[None]]) -> None:
    """All of them. The first failure ends the others' attempts, and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(_awaited(start))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _awaited(start: Callable[[], Awaitable[None]]) -> None:
    await start()


def _read_tokens(file: Path) -> dict[str, str]:
    return dict(json.loads(file.read_text()))


def _exists(file: Path) -> bool:
    return file.exists()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
