"""An API with one node in front of a real coturn: what is issued for it really relays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from agents.prober import targets
from controlplane.wire.redacted import Redacted
from tests.agents.places import LOOPBACK, free_port, make_settings, open_folder
from tests.agents.relay import Relay, relay
from tests.running_api import RunningApi, SimulatedNode, running_api, until

REGION = "eu-central"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayingFleet:
    api: RunningApi
    node: SimulatedNode
    relay: Relay
    database_url: str

    @property
    def secrets(self) -> dict[int, Redacted]:
        """What coturn should hold."""
        return {version: Redacted(text) for version, text in self.node.secrets.items()}

    @property
    def ca_file(self) -> str:
        return str(self.relay.prepared.settings.ca_file)

    @property
    def listeners(self) -> list[dict[str, Any]]:
        settings = self.relay.prepared.settings
        return [{"transport": each.transport, "host": LOOPBACK, "port": each.port} for each in targets(settings)]

    async def report(self, **changes: Any) -> None:
        """The node says this from now on, and the API knows it."""
        self.node.changes = {"listeners": self.listeners} | changes
        await self.node.beat()

    async def issued_urls(self) -> list[str]:
        answer = await self.api.issue(json={"fixed_region": REGION})
        return [url for server in answer.json().get("iceServers", []) for url in server["urls"] if url.startswith("turn")]

    async def serve(self, listeners: list[dict[str, Any]]) -> None:
        """These listeners from now on, also for credentials."""
        await self.report(listeners=listeners)
        ports = sorted(each["port"] for each in listeners)

        async def issued() -> bool:
            return sorted(int(url.split(":")[2].split("?")[0]) for url in await self.issued_urls()) == ports

        await until(issued, what="credentials name the new listeners")

    def broken(self, *transports: str) -> list[dict[str, Any]]:
        """All listeners, those of these transports where nothing listens."""
        return [each | {"port": free_port()} if each["transport"] in transports else each for each in self.listeners]

    async def drain(self, *, withdrawn: bool) -> None:
        """As the operator does it; its secrets are withdrawn as by the leader, which does not run here."""
        await self._call("drain")
        if withdrawn:
            connection = await asyncpg.connect(self.database_url)
            try:
                await connection.execute("UPDATE nodes SET secrets_withdrawn_at = now() WHERE id = $1", self.node.node_id)
            finally:
                await connection.close()
        await self._until_it_is("emptying" if withdrawn else "waiting")

    async def undrain(self) -> None:
        await self._call("undrain")
        await self._until_it_is(None)

    async def _call(self, change: str) -> None:
        path = f"/api/v1/fleet/nodes/{self.node.name}/{change}"
        answer = await self.api.client.post(path, headers=self.api.bearer("operator"), json={})
        assert answer.status_code == 202, answer.text

    async def _until_it_is(self, phase: str | None) -> None:
        async def known() -> bool:
            drain = (await self.api.node(self.node.name))["drain"]
            return bool((drain and drain["phase"]) == phase)

        await until(known, what=f"the drain is {phase}")

    async def records(self, since: datetime) -> int:
        """Of what was issued since then: records of what was issued before may still be on their way."""
        query = {"limit": "500", "from": since.isoformat()}
        answer = await self.api.client.get("/api/v1/credentials", headers=self.api.bearer("project"), params=query)
        return len(json.loads(answer.content)["items"])


@asynccontextmanager
async def relaying_fleet(
    database_url: str, redis_url: str, *, without: str | None = None, **changes: object
) -> AsyncIterator[RelayingFleet]:
    """`without` is of the relay, `changes` are of its agent's settings."""
    with open_folder() as folder:
        settings = make_settings(folder, tls=True, **changes)  # type: ignore[arg-type] # its settings
        environment = {"TURNFLEET_RELAY_CA_FILE": str(settings.ca_file)}
        async with running_api(database_url, redis_url, folder, **environment) as api:
            await api.put_region(REGION)
            node = SimulatedNode(api, "eu-1", REGION)
            await node.bring_up()
            node.keep_beating()
            try:
                secrets = {version: Redacted(text) for version, text in node.secrets.items()}
                async with relay(settings, secrets=secrets, without=without) as running:
                    fleet = RelayingFleet(api=api, node=node, relay=running, database_url=database_url)
                    await fleet.serve(fleet.listeners)
                    yield fleet
            finally:
                await node.stop_beating()
