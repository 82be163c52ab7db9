"""Who is who, in memory: regions, nodes and projects, each read from PostgreSQL again when its version there moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog

from controlplane.fleet.model import Node, Region
from controlplane.flows.master_keys import MasterKeys, missing_key
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.directory import all_nodes, all_regions, directory_version, node_by_token
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.rolls import StoppedRoll, stopped_rolls
from controlplane.postgres_store.tenants import Project, all_projects

_PERIOD_SECONDS = 0.4
"""A change of tenants has to be in effect on every replica within 1 s: this, the question, and what has to be read then."""
_UNKNOWN_REMEMBERED = 10_000
_UNKNOWN_SECONDS = 5.0
"""A wrong node token that is tried again and again asks PostgreSQL once in this time."""

log = structlog.get_logger()


class Directory:
    """Kept through a PostgreSQL outage as it last was. Run `run()` as a task.

    `fleet_changed` is called when regions and nodes, `tenants_changed` when projects were read anew (a token may have changed,
    too); both may raise DatabaseUnavailableError, and are then called again. Without `tenants_changed` tenants are not read:
    for a process that nobody sends tokens to. `successors` are of tokens that a node may show beside its own. Without
    `keys` no secret version is unknown: for a process that signs nothing.
    """

    def __init__(
        self,
        database: Database,
        lookups: Database,
        *,
        fleet_changed: Callable[[], None],
        tenants_changed: Callable[[], Awaitable[None]] | None = None,
        successors: Callable[[Node], list[bytes]] | None = None,
        keys: MasterKeys | None = None,
    ) -> None:
        self._database = database
        self._lookups = lookups
        self._fleet_changed = fleet_changed
        self._tenants_changed = tenants_changed
        self._successors = successors
        self._keys = keys
        self._refreshing = asyncio.Lock()
        self.version = 0
        """Of regions and nodes; 0 until they were read once."""
        self.tenants_version = 0
        self.regions: list[Region] = []
        self.nodes: dict[str, Node] = {}
        self.stopped_rolls: list[StoppedRoll] = []
        self.missing_key: str | None = None
        """What is said when nothing can be signed for some nodes, for want of a master key."""
        self.projects: dict[UUID, Project] = {}
        self._by_token: dict[bytes, Node] = {}
        self._by_slug: dict[tuple[UUID, str], Project] = {}
        self._by_slugs: dict[tuple[str, str], Project] = {}
        self._defaults: dict[UUID, Project] = {}
        self._unknown_until: dict[bytes, float] = {}
        self.confirmed_database_at: datetime | None = None
        """PostgreSQL's clock then."""
        self.confirmed_at = 0.0
        """Monotonic: when PostgreSQL last said that this is still so."""
        self.clock_offset_seconds = 0.0
        """Our wall clock minus PostgreSQL's."""
        self.failing = False
        """PostgreSQL did not answer the last time."""

    async def run(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def refresh(self) -> bool:
        """Read what changed. False when PostgreSQL did not answer: everything stays as it was.

        One after another: who calls this after a change of its own must not meet a reading that began before it.
        """
        async with self._refreshing:
            asked = time.monotonic()
            try:
                seen = await directory_version(self._database)
                self.clock_offset_seconds = (datetime.now(UTC) - seen.database_at).total_seconds()
                if seen.version != self.version:
                    await self._read_fleet()
                    self.version = seen.version
                if self._tenants_changed is not None and seen.tenants_version != self.tenants_version:
                    self._keep_projects(await all_projects(self._database))
                    await self._tenants_changed()
                    self.tenants_version = seen.tenants_version
            except DatabaseUnavailableError as error:
                if not self.failing:
                    log.warning("directory_stale", reason=str(error))
                self.failing = True
                return False
            if self.failing:
                log.info("directory_current", version=self.version, tenants_version=self.tenants_version)
            self.failing = False
            self.confirmed_at, self.confirmed_database_at = asked, seen.database_at
            return True

    async def _read_fleet(self) -> None:
        regions = await all_regions(self._database)
        nodes = [self._seen(node) for node in await all_nodes(self._database)]
        self.stopped_rolls = await stopped_rolls(self._database)
        self.regions = regions
        self.nodes = {node.node_id: node for node in nodes}
        self.missing_key = missing_key(nodes)
        self._by_token = {sha256: node for node in nodes for sha256 in self._tokens_of(node)}
        self._fleet_changed()

    def _seen(self, node: Node) -> Node:
        return node if self._keys is None else self._keys.see(node)

    def _keep_projects(self, projects: list[Project]) -> None:
        self.projects = {project.project_id: project for project in projects}
        self._by_slug = {(project.organization_id, project.slug): project for project in projects}
        self._by_slugs = {(project.organization_slug, project.slug): project for project in projects}
        self._defaults = {project.organization_id: project for project in projects if project.is_default}

    async def node_by_token(self, sha256: bytes) -> Node | None:
        """The node of a node token; one that joined a moment ago through another replica is asked for.

        Raises DatabaseUnavailableError when it is not known here and PostgreSQL is away.
        """
        known = self._by_token.get(sha256)
        if known is not None:
            return known
        if self._unknown_until.get(sha256, 0.0) > time.monotonic():
            return None
        node = await node_by_token(self._lookups, sha256)
        if node is None:
            if len(self._unknown_until) >= _UNKNOWN_REMEMBERED:
                self._unknown_until.clear()
            self._unknown_until[sha256] = time.monotonic() + _UNKNOWN_SECONDS
        else:
            node = self._seen(node)
            self.nodes[node.node_id] = node
            self._by_token |= dict.fromkeys(self._tokens_of(node), node)
            self._fleet_changed()
        return node

    def _tokens_of(self, node: Node) -> list[bytes]:
        """The hashes of those that it may show now."""
        return [node.token_sha256, *([] if self._successors is None else self._successors(node))]

    def database_now(self) -> datetime:
        """PostgreSQL's clock: all replicas judge by the same one, and what PostgreSQL stamped is compared with it."""
        return datetime.now(UTC) - timedelta(seconds=self.clock_offset_seconds)

    def project(self, organization_id: UUID, slug: str | None) -> Project | None:
        """By slug inside an organization; without a slug the organization's default project."""
        return self._defaults.get(organization_id) if slug is None else self._by_slug.get((organization_id, slug))

    def project_of_slugs(self, organization: str, slug: str) -> Project | None:
        return self._by_slugs.get((organization, slug))
