"""Two tenants on a real API with its jobs, tokens of every sort, and fresh objects whenever a call needs one."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count
from typing import Any

import asyncpg
import httpx

from controlplane.wire.problem import PROBLEMS
from controlplane.wire.tenants_api import OPERATOR_SCOPES, SCOPES
from tests.running_api import RunningApi, SimulatedNode, until

TENANT_SCOPES = [scope for scope in SCOPES if scope not in OPERATOR_SCOPES]


class World:
    def __init__(self, api: RunningApi, node: SimulatedNode, database_url: str) -> None:
        self.api = api
        self._node = node
        self._database_url = database_url
        self._numbers = count(1)
        self._tokens: dict[str, str] = {}
        self._credential = ""
        self._jobs: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        self._jobs = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane", "jobs"), env={**self.api.environment, "TURNFLEET_METRICS_PORT": "0"}
        )
        await self._call("POST", "/organizations", {"slug": "rival", "name": "Rival"})
        await self._call("POST", "/projects", {"slug": "rival", "name": "Rival", "organization": "rival", "is_default": True})
        for name, organization in (("organization", "demo"), ("other_tenant", "rival")):
            self._tokens[name] = await self.make_token("organization", TENANT_SCOPES, organization=organization)
        self._tokens["project"] = await self.make_token("project", TENANT_SCOPES, organization="demo", project="demo")
        self._tokens["operator"] = self.api.tokens["operator_token"]
        self._tokens["node"] = self._node.token
        self._tokens["malformed"] = self._tokens["organization"][:-1] + "!"
        self._tokens["deleted"] = await self.make_token("organization", TENANT_SCOPES, organization="demo")
        await self._call("DELETE", f"/tokens/{self._tokens['deleted'][4:16]}")
        self._tokens["expired"] = await self.make_token("organization", TENANT_SCOPES, organization="demo")
        await self._expire(self._tokens["expired"])
        self._credential = await self.credential()
        for path in ("rooms/standup", "clients/alice"):
            await until(lambda path=path: self._is_there(path), what=f"{path} is known")  # type: ignore[misc]

    async def end(self) -> None:
        if self._jobs is not None:
            self._jobs.terminate()
            await self._jobs.wait()

    def bearer(self, column: str) -> dict[str, str]:
        headers = {} if column == "no_token" else {"authorization": f"Bearer {self._tokens[column]}"}
        return {**headers, "x-project": "demo/demo"} if column == "operator" else headers

    async def without(self, scope: str) -> dict[str, str]:
        """A token of the tenant that lacks this scope alone."""
        name = f"without {scope}"
        if name not in self._tokens:
            kept = [each for each in TENANT_SCOPES if each != scope]
            self._tokens[name] = await self.make_token("organization", kept, organization="demo")
        return self.bearer(name)

    async def make_token(self, kind: str, scopes: list[str], **where: str) -> str:
        return str((await self._call("POST", "/tokens", {"kind": kind, "name": "n", "scopes": scopes, **where}))["token"])

    async def object(self, name: str) -> str:
        """What stands for the parameter of that name: a new one where calls could destroy it."""
        number = next(self._numbers)
        match name:
            case "new":
                return f"new-{number}"
            case "organization":
                return str((await self._call("POST", "/organizations", {"slug": f"o-{number}", "name": "O"}))["slug"])
            case "project":
                body = {"slug": f"p-{number}", "name": "P", "organization": "demo"}
                return str((await self._call("POST", "/projects", body))["slug"])
            case "own_project":
                return "demo"
            case "token_id":
                return (await self.make_token("project", ["credentials:issue"], organization="demo", project="demo"))[4:16]
            case "credential_id":
                return self._credential
            case "webhook_id":
                for old in (await self._call("GET", "/webhooks"))["items"]:
                    await self._call("DELETE", f"/webhooks/{old['id']}")
                webhook: dict[str, Any] = {"url": "http://127.0.0.1:9/hook", "events": ["node.down"]}
                return str((await self._call("POST", "/webhooks", webhook))["id"])
            case "room":
                return "standup"
            case "client":
                return "alice"
            case "region":
                return "eu-central"
            case "node_id":
                return self._node.node_id
            case "spare_node":
                spare = SimulatedNode(self.api, f"spare-{number}", "eu-central")
                await spare.join()
                return spare.node_id
            case "idle_region":
                return await self._idle_region(number)
            case "roll_id":
                return await self._roll(number)
            case "stopped_roll":
                roll_id = await self._roll(number)
                await self._call("POST", f"/fleet/rolls/{roll_id}/stop")
                return roll_id
            case "code":
                return next(iter(PROBLEMS))
        raise AssertionError(f"The world has no {name}.")

    async def _idle_region(self, number: int) -> str:
        """With a node that nothing depends on."""
        slug = f"idle-{number}"
        await self.api.put_region(slug)
        await SimulatedNode(self.api, slug, slug).join()
        return slug

    async def _roll(self, number: int) -> str:
        return str((await self._call("POST", f"/fleet/regions/{await self._idle_region(number)}/roll"))["roll_id"])

    def fill(self, body: Any, column: str, new: str) -> Any:
        if body == "{heartbeat}":
            return self._node.heartbeat()
        text = json.dumps(body).replace("{new}", new)
        return json.loads(text.replace("{default_project}", "rival" if column == "other_tenant" else "demo"))

    async def credential(self) -> str:
        answer = await self.api.issue(json={"room": "standup", "initiator_client": "alice"})
        identity = str(answer.headers["x-credential-id"])
        await until(lambda: self._is_there(f"credentials/{identity}"), what="the record is there")
        return identity

    async def _is_there(self, path: str) -> bool:
        return (await self.api.client.get(f"/api/v1/{path}", headers=self.bearer("organization"))).status_code == 200

    async def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer: httpx.Response = await self.api.client.request(
            method, f"/api/v1{path}", headers={**self.api.bearer("operator"), "x-project": "demo/demo"}, json=body
        )
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return dict(answer.json()) if answer.content else {}

    async def _expire(self, token: str) -> None:
        connection = await asyncpg.connect(self._database_url)
        try:
            await connection.execute("UPDATE tokens SET expires_at = now() - interval '1 hour' WHERE id = $1", token[4:16])
        finally:
            await connection.close()
