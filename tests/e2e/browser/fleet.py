"""The running stack as an application sees it: credentials for a region, and the node they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.browser.peers import Transport

__all__ = ["Fleet", "Given", "Node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    node_id: str
    region: str
    host: str
    port: int
    tls_port: int

    def url(self, transport: Transport) -> str:
        """The one URL of its that uses this transport."""
        if transport == "tls":
            return f"turns:{self.host}:{self.tls_port}?transport=tcp"
        return f"turn:{self.host}:{self.port}?transport={transport}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A reply to an application, and the node that it says it is of."""

    node_id: str
    ice_servers: list[dict[str, Any]]

    @property
    def expiry_seconds(self) -> int:
        """The last second, in Unix time, in which a relay accepts it."""
        return int(self.ice_servers[1]["username"].partition(":")[0])


class Fleet:
    """Built from what ready.json holds."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self.regions: list[str] = ready["regions"]
        known = Node.__dataclass_fields__
        self._nodes = [Node(**{name: value for name, value in node.items() if name in known}) for node in ready["nodes"]]
        self._project = {"Authorization": f"Bearer {ready['project_token']}"}
        self._operator = {"Authorization": f"Bearer {ready['operator_token']}"}
        self._http = httpx.AsyncClient(base_url=ready["api_url"], trust_env=False, timeout=10)

    async def close(self) -> None:
        await self._http.aclose()

    def node_of(self, region: str) -> Node:
        (node,) = (node for node in self._nodes if node.region == region)
        return node

    async def credentials(self, **fields: object) -> Given:
        answer = await self._http.post("/api/v1/credentials/ice", headers=self._project, json=fields)
        assert answer.status_code == 200, answer.text
        return Given(node_id=answer.headers["x-turn-node"], ice_servers=answer.json()["iceServers"])

    async def allocations(self, node_id: str) -> int:
        """By the node's last report."""
        answer = await self._http.get(f"/api/v1/fleet/nodes/{node_id}", headers=self._operator)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["load"]["allocations"])
