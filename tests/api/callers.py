"""Whoever calls the API with one token, and the tenants that tests make for themselves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from tests.running_api import RunningApi

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Caller:
    client: httpx.AsyncClient
    token: str

    async def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **request)

    async def expect(self, status: int, method: str, path: str, **request: Any) -> Any:
        """The body of an answer with that status."""
        answer = await self(method, path, **request)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def code(self, method: str, path: str, **request: Any) -> str:
        """The code of the problem that comes back."""
        answer = await self(method, path, **request)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        return str(answer.json()["code"])

    def at(self, api: RunningApi) -> Caller:
        """The same token at another replica."""
        return Caller(api.client, self.token)

    def with_token(self, token: str) -> Caller:
        return Caller(self.client, token)


def operator_of(api: RunningApi) -> Caller:
    return Caller(api.client, api.tokens["operator_token"])


async def new_organization(operator: Caller, *projects: str) -> str:
    """Its slug. The first of its projects is the default."""
    slug = f"org-{next(_numbers)}"
    await operator.expect(201, "POST", "/organizations", json={"slug": slug, "name": slug})
    for project in projects:
        await operator.expect(201, "POST", "/projects", json={"organization": slug, "slug": project, "name": project})
    return slug


async def new_token(maker: Caller, kind: str, scopes: list[str], **fields: Any) -> tuple[Caller, str]:
    """(a caller with it, its id)."""
    body = {"kind": kind, "name": "a token", "scopes": scopes, **fields}
    made = await maker.expect(201, "POST", "/tokens", json=body)
    return maker.with_token(made["token"]), made["id"]


async def pages_of(caller: Caller, path: str, *, limit: int, **params: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await caller.expect(200, "GET", path, params={**params, "limit": limit, "cursor": cursor})
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
