"""The whole of turnfleet on one machine: what starts in which order, when it is ready, how it ends."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from deploy.local.api_client import ApiClient
from deploy.local.certificates import ensure_certificates
from deploy.local.control_plane import StackFailed
from deploy.local.files import make_folder, write_private
from deploy.local.layout import StackOptions, ensure_master_key
from deploy.local.logs import set_aside
from deploy.local.node import LocalNode
from deploy.local.parts import NoSuchPart, Parts
from deploy.local.ports import HOST
from deploy.local.records import Records, coturns_below, end_all
from deploy.local.regions import region_named

__all__ = ["NoSuchPart", "Stack", "StackFailed", "running_stack", "sweep"]

CALL_DEADLINE = timedelta(seconds=15)
FLEET_DEADLINE = timedelta(seconds=45)
# How soon a coturn that its agent replaced shows in ready.json.
NODE_POLL = timedelta(milliseconds=250)


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
        self._complained_of = ""
        make_folder(options.logs)
        set_aside(options.logs)
        self.certificates = ensure_certificates(options.state / "tls")
        self.parts = Parts(options, self.certificates, changed=self._changed)
        self.nodes = self.parts.nodes

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
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            # However the watcher itself ended: the parts are ended.
            await asyncio.gather(watcher, return_exceptions=True)
        try:
            self.options.ready_file.unlink(missing_ok=True)
        except OSError as error:
            self._say(f"ready.json could not be removed: {error}")
        failures = await self.parts.end()
        self._records.forget()
        for failure in failures:
            raise failure

    def kill_all(self) -> None:
        """For somebody who does not want to wait; `stop` still has to be awaited."""
        self.parts.kill_all()

    async def stop_part(self, target: str) -> str:
        """Ends a part that stays dead until `start_part`. `NODE:agent` kills the agent and leaves its coturn alone."""
        return await self.parts.stop_part(target)

    async def start_part(self, target: str) -> str:
        """Starts what `stop_part` ended; returns when it is ready."""
        return await self.parts.start_part(target)

    def ready_document(self) -> dict[str, Any]:
        """What ready.json holds: a stable interface. A pid is null while that part is down."""
        pids = self.parts.pids
        return {
            "api_url": self.api_url,
            "console_url": f"{self.api_url}/console",
            "metrics_url": f"http://{HOST}:{self.ports.metrics}/metrics",
            "ca_file": str(self.certificates.authority),
            "project_token": self.tokens["project_token"],
            "organization_token": self.tokens["organization_token"],
            "operator_token": self.tokens["operator_token"],
            "redis_url": self.parts.redis.url,
            "database_url": self.parts.postgres.url,
            "regions": list(self.options.regions),
            "nodes": [self._node_entry(node) for node in self.nodes.values()],
            "pids": {
                "api": [] if pids["api"] is None else [pids["api"]],
                "jobs": pids["jobs"],
                "redis": pids["redis"],
                "postgres": pids["postgres"],
            },
        }

    async def _bring_up(self) -> None:
        parts = self.parts
        await asyncio.to_thread(sweep, self.options, self._say)
        self.ports.require_free()
        ensure_master_key(self.options.master_key_file)
        make_folder(self.options.nodes)
        with self._step("redis and postgres are ready"):
            await _together(parts.redis.start, parts.postgres.start)
        if parts.postgres.is_fresh:
            # Tokens of a database that is gone would be kept, and refused, for ever.
            self.options.tokens_file.unlink(missing_ok=True)
        with self._step("the database is migrated"):
            await parts.control_plane.migrate()
        with self._step("the API and the jobs are ready; organization, project and tokens exist"):
            await _together(parts.control_plane.bootstrap, parts.api.start, parts.jobs.start)
        self.tokens = _read_tokens(self.options.tokens_file)
        async with self._client() as client:
            with self._step(f"{_counted(len(self.nodes), 'relay')} with agents joined"):
                await self._admit_nodes(client)
                await _together(*(node.agent.start for node in self.nodes.values()))
            with self._step("every node is eligible"):
                ids = {name: node.known_as or str(node.status()["node_id"]) for name, node in self.nodes.items()}
                await client.wait_for_nodes(ids, deadline=FLEET_DEADLINE)
                await parts.control_plane.wait_until_ready()
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
            try:
                if self.ready_document() != self.ready or not _exists(self.options.ready_file):
                    self._write_ready()
                self._complained_of = ""
            except (OSError, psutil.Error) as error:
                self._complain(f"ready.json may name processes that no longer run: {error}")

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
            "metrics_url": f"http://{HOST}:{node.ports.metrics}/metrics",
            "realm": status.get("realm"),
            "coturn_pid": node.coturn_pid,
            "agent_pid": node.agent.pid,
        }

    def _changed(self) -> None:
        if not self.options.state.is_dir():
            return  # Somebody removed it: _watch_nodes sees to that.
        self._records.write(self.parts.pids)

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

    def _complain(self, trouble: str) -> None:
        """Once, however often it is met in a row."""
        if trouble != self._complained_of:
            self._complained_of = trouble
            self._say(trouble)


def sweep(options: StackOptions, say: Callable[[str], None]) -> None:
    """Ends what a supervisor that died without stopping has left behind. Blocking, and only for whoever holds the StackLock."""
    options.ready_file.unlink(missing_ok=True)
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
