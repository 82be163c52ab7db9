"""Who is who, in memory: regions, nodes and projects, read from PostgreSQL whenever its version moved. Asked once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog

from controlplane.fleet.model import Node, Region
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.directory import all_nodes, all_regions, directory_version, node_by_token
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.tenants import Project, all_projects

_PERIOD_SECONDS = 1.0
_UNKNOWN_REMEMBERED = 10_000
_UNKNOWN_SECONDS = 5.0
"""A wrong node token that is tried again and again asks PostgreSQL once in this time."""

log = structlog.get_logger()


class Directory:
    """Kept through a PostgreSQL outage as it last was. Run `run()` as a task; `changed` is called after every new reading."""

    def __init__(self, database: Database, lookups: Database, changed: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._lookups = lookups
        self._changed = changed
        self.version = 0
        """0 until it was read once."""
        self.regions: list[Region] = []
        self.nodes: dict[str, Node] = {}
        self.projects: dict[UUID, Project] = {}
        self._by_token: dict[bytes, Node] = {}
        self._unknown_until: dict[bytes, float] = {}
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
        """Read what changed. False when PostgreSQL did not answer: everything stays as it was."""
        asked = time.monotonic()
        try:
            seen = await directory_version(self._database)
            self.clock_offset_seconds = (datetime.now(UTC) - seen.database_at).total_seconds()
            if seen.version != self.version:
                regions = await all_regions(self._database)
                nodes = await all_nodes(self._database)
                projects = await all_projects(self._database)
                self.regions = regions
                self.nodes = {node.node_id: node for node in nodes}
                self._by_token = {node.token_sha256: node for node in nodes}
                self.projects = {project.project_id: project for project in projects}
                await self._changed()
                self.version = seen.version
        except DatabaseUnavailableError as error:
            if not self.failing:
                log.warning("directory_stale", reason=str(error))
            self.failing = True
            return False
        if self.failing:
            log.info("directory_current", version=self.version)
        self.failing = False
        self.confirmed_at = asked
        return True

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
            self.nodes[node.node_id] = node
            self._by_token[sha256] = node
            await self._changed()
        return node

    def project(self, organization_id: UUID | None, slug: str | None, *, organization_slug: str | None = None) -> Project | None:
        """By slug inside an organization; without a slug the organization's default project."""
        for project in self.projects.values():
            if organization_id is not None and project.organization_id != organization_id:
                continue
            if organization_slug is not None and project.organization_slug != organization_slug:
                continue
            if project.slug == slug or (slug is None and project.is_default):
                return project
        return None
