"""An application before the running stack: asks for credentials, and relays with them."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import httpx

from controlplane.turn.client import TurnClient, TurnError
from controlplane.wire.redacted import Redacted
from deploy.local.relay_check import RelayCheck, TurnServer, check_relay, turn_servers
from deploy.local.stack import Stack

_REFUSAL_SECONDS = 5.0


class Application:
    """One token of the project; one of the operator, to look at the fleet."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = httpx.AsyncClient(base_url=stack.ready["api_url"], timeout=10, trust_env=False)
        self._project = {"authorization": f"Bearer {stack.ready['project_token']}"}
        self._operator = {"authorization": f"Bearer {stack.ready['operator_token']}"}

    async def issue(self, **fields: Any) -> httpx.Response:
        return await self.client.post("/api/v1/credentials/ice", headers=self._project, json=fields)

    async def code(self, **fields: Any) -> str:
        """`REGION SELECTION` of an answer, or the problem's code."""
        answer = await self.issue(**fields)
        if answer.status_code == 200:
            return f"{answer.headers['x-turn-region']} {answer.headers['x-turn-selection']}"
        return str(answer.json()["code"])

    async def turn_server(self, transport: str, **fields: Any) -> TurnServer:
        answer = await self.issue(**fields)
        assert answer.status_code == 200, answer.text
        return server_of(answer, transport)

    async def node(self, region: str) -> dict[str, Any]:
        name = next(node.name for node in self.stack.nodes.values() if node.region == region)
        answer = await self.client.get(f"/api/v1/fleet/nodes/{name}", headers=self._operator)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def allocations(self, credential_id: str) -> list[dict[str, Any]]:
        """Of that credential."""
        answer = await self.client.get("/api/v1/allocations", headers=self._project, params={"credential": credential_id})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    async def operate(self, region: str, change: str, **body: Any) -> None:
        """Cordon, drain and so on, of the region's node."""
        name = next(node.name for node in self.stack.nodes.values() if node.region == region)
        answer = await self.client.post(f"/api/v1/fleet/nodes/{name}/{change}", headers=self._operator, json=body)
        assert answer.status_code == 202, answer.text

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.stack.certificates.authority))

    async def relay(self, server: TurnServer) -> RelayCheck:
        """Bytes there and back, with aioice."""
        return await check_relay(server, context=self._trust())

    async def refusal(self, server: TurnServer) -> int:
        """The error code that Allocate is answered with. (aioice leaves its connection open when it is refused.)"""
        scheme, host, rest = server.url.split(":")
        port, _, transport = rest.partition("?transport=")
        client = TurnClient(username=server.username, password=Redacted(server.credential))
        try:
            async with asyncio.timeout(_REFUSAL_SECONDS):
                if scheme == "turns":
                    await client.connect_tls(host, int(port), context=self._trust(), server_name=host)
                elif transport == "tcp":
                    await client.connect_tcp(host, int(port))
                else:
                    await client.connect_udp(host, int(port))
                relayed = await client.allocate()
        except TurnError as error:
            return error.code
        finally:
            client.close()
        raise AssertionError(f"{server.url} allocated {relayed}")

    async def is_refused(self, server: TurnServer) -> bool:
        try:
            await self.refusal(server)
        except AssertionError:
            return False
        return True


def server_of(answer: httpx.Response, transport: str) -> TurnServer:
    servers = turn_servers(answer.json()["iceServers"])
    scheme = "turns:" if transport == "tls" else "turn:"
    suffix = "tcp" if transport == "tls" else transport
    (found,) = (each for each in servers if each.url.startswith(scheme) and each.url.endswith(suffix))
    return found


class Watch:
    """Asks for one region again and again, and keeps when each answer changed."""

    def __init__(self, application: Application, **fields: Any) -> None:
        self._application = application
        self._fields = fields
        self._began = time.monotonic()
        self.changes: list[tuple[float, str]] = []

    def restart_clock(self) -> None:
        self._began = time.monotonic()
        self.changes.clear()

    async def look(self) -> str:
        code = await self._application.code(**self._fields)
        if not self.changes or self.changes[-1][1] != code:
            self.changes.append((time.monotonic() - self._began, code))
        return code
