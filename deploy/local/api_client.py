"""The few calls of the public API that bring a local fleet up."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.local.regions import DevelopmentRegion
from deploy.local.relay_check import RelayCheck, RelayFailed, check_relay, turn_servers

__all__ = ["ApiClient", "ApiRefused"]

REQUEST_TIMEOUT = timedelta(seconds=5)
POLL = timedelta(milliseconds=50)


class ApiRefused(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """The API did not do what a local stack needs."""


class ApiClient:
    """Acts with the operator's token; credentials are asked for with the project's, as an application would."""

    def __init__(self, origin: str, *, operator_token: str, project_token: str) -> None:
        self._operator = {"Authorization": f"Bearer {operator_token}"}
        self._project = {"Authorization": f"Bearer {project_token}"}
        # trust_env would send loopback requests to a proxy.
        self._http = httpx.AsyncClient(base_url=origin, timeout=REQUEST_TIMEOUT.total_seconds(), trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.aclose()

    async def ensure_region(self, region: DevelopmentRegion, *, deadline: timedelta) -> None:
        body = asdict(region)
        slug = body.pop("slug")
        await self._until_done("PUT", f"/api/v1/fleet/regions/{slug}", body, deadline=deadline)

    async def join_token(self, *, region: str, name: str, deadline: timedelta) -> str:
        body = {"region": region, "ttl_seconds": 3600, "name": name}
        reply = await self._until_done("POST", "/api/v1/fleet/join-tokens", body, deadline=deadline)
        return str(reply["join_token"])

    async def nodes(self) -> list[dict[str, Any]]:
        reply = await self._http.get("/api/v1/fleet/nodes", headers=self._operator, params={"limit": 500})
        if reply.status_code != httpx.codes.OK:
            raise ApiRefused(_said("GET", "/api/v1/fleet/nodes", reply))
        return list(reply.json()["items"])

    async def wait_for_nodes(self, node_ids: Mapping[str, str], *, deadline: timedelta) -> None:
        """Until every one of these (name → node id) may be given to clients.

        A node that is only `saturated` is waited for no longer: all relays share this machine's CPU, which a start keeps busy.
        """
        until = time.monotonic() + deadline.total_seconds()
        while True:
            try:
                found = {node["node_id"]: node for node in await self.nodes()}
            except httpx.HTTPError:
                found = {}
            waiting = {name: found.get(node_id, {}) for name, node_id in node_ids.items() if not _may_serve(found.get(node_id, {}))}
            if not waiting:
                return
            if time.monotonic() > until:
                said = "; ".join(
                    f"{name}: {node.get('health', 'not listed')} {', '.join(node.get('ineligible_because', []))}".rstrip()
                    for name, node in waiting.items()
                )
                raise ApiRefused(f"these nodes are not eligible after {deadline.total_seconds():.0f} s: {said}")
            await asyncio.sleep(POLL.total_seconds())

    async def check_region(self, region: str, *, deadline: timedelta) -> RelayCheck:
        """A credential for the region, and a packet through the relay it names. Tried until the deadline."""
        until = time.monotonic() + deadline.total_seconds()
        while True:
            try:
                return await self._check_once(region)
            except (ApiRefused, RelayFailed, httpx.HTTPError) as error:
                if time.monotonic() > until:
                    raise ApiRefused(f"no packet through a relay of {region}: {error}") from error
            await asyncio.sleep(POLL.total_seconds())

    async def _check_once(self, region: str) -> RelayCheck:
        path = "/api/v1/credentials/ice"
        reply = await self._http.post(path, headers=self._project, json={"fixed_region": region})
        if reply.status_code != httpx.codes.OK:
            raise ApiRefused(_said("POST", path, reply))
        servers = [server for server in turn_servers(reply.json()["iceServers"]) if server.url.endswith("=udp")]
        if not servers:
            raise ApiRefused(f"the credentials for {region} name no TURN server over UDP")
        return await check_relay(servers[0])

    async def _until_done(self, method: str, path: str, body: Mapping[str, object], *, deadline: timedelta) -> dict[str, Any]:
        """Repeats what fails for now (no connection, 5xx); any other refusal is final."""
        until = time.monotonic() + deadline.total_seconds()
        while True:
            try:
                reply = await self._http.request(method, path, headers=self._operator, json=body)
            except httpx.TransportError as error:
                said = f"{method} {path}: {error}"
            else:
                if reply.is_success:
                    return dict(reply.json()) if reply.content else {}
                said = _said(method, path, reply)
                if reply.is_client_error:
                    raise ApiRefused(said)
            if time.monotonic() > until:
                raise ApiRefused(said)
            await asyncio.sleep(POLL.total_seconds())


def _said(method: str, path: str, reply: httpx.Response) -> str:
    return f"{method} {path} answered {reply.status_code}: {reply.text[:500]}"


def _may_serve(node: dict[str, Any]) -> bool:
    return bool(node) and set(node["ineligible_because"]) <= {"saturated"}
