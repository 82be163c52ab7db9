"""What both processes need of the fleet: who is who, and what they report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from controlplane.fleet.policy import Policy
from controlplane.flows.directory import Directory
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.keep_master_keys import MasterKeyKeeper
from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.node_tokens import NodeTokens
from controlplane.flows.outside_watch import OutsideWatch
from controlplane.postgres_store.database import Database
from controlplane.redis_store.live_state import LiveState
from controlplane.redis_store.outside import OutsideStore
from controlplane.settings import Settings


class FleetReader:
    """Its stores, its loops, and their end."""

    def __init__(
        self,
        settings: Settings,
        keys: MasterKeys | None,
        *,
        tokens: NodeTokens | None = None,
        tenants_changed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.database = Database(settings.database_url)
        # Of its own: however many wait for the others, what was changed or deleted elsewhere is in effect within a second.
        self.following = Database(settings.database_url, connections=1)
        self.live = LiveState.connect(settings.redis_url)
        self.keeper = FleetKeeper(self.live, Policy(cpu_limit_ratio=settings.node_cpu_limit_percent / 100))
        self.outside = OutsideWatch(OutsideStore.connect(settings.redis_url), self.keeper.view)
        self.lookups = Database(settings.database_url, connections=2)
        self.directory = Directory(
            self.following,
            self.lookups,
            fleet_changed=self._fleet_changed,
            tenants_changed=tenants_changed,
            successors=None if tokens is None else tokens.successors,
            keys=keys,
        )
        self.keys = None if keys is None else MasterKeyKeeper(self.database, keys)

    def _fleet_changed(self) -> None:
        self.keeper.view.set_directory(self.directory.regions, self.directory.nodes.values())
        self.keeper.rebuild()

    async def start(self) -> None:
        """One try at everything, so that a healthy start is ready at once."""
        announced = [] if self.keys is None else [self.keys.announce()]
        await asyncio.gather(self.directory.refresh(), self.keeper.read_once(), self.outside.read_once(), *announced)
        self.keeper.rebuild()

    def loops(self) -> list[Coroutine[Any, Any, object]]:
        of_keys = () if self.keys is None else (self.keys.run(),)
        return [self.directory.run(), *self.keeper.loops(), self.outside.run(), *of_keys]

    async def close(self) -> None:
        if self.keys is not None:
            await self.keys.leave()
        await self.live.close()
        await self.outside.close()
        await self.lookups.close()
        await self.following.close()
        await self.database.close()
