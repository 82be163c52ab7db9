"""Every route and every sort of caller: the exact status, and nothing of another tenant in any answer."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from controlplane.api.app import make_document
from deploy.local.redis_server import private_redis
from tests.matrix.rows import COLUMNS, ROWS, Row
from tests.matrix.world import World
from tests.running_api import SimulatedNode, ask, running_api


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(module_database_url: str) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="turnfleet-test-") as folder:
        settings = {"TURNFLEET_WEBHOOK_PRIVATE_TARGETS": "127.0.0.0/8"}
        async with private_redis() as redis, running_api(module_database_url, redis.url, Path(folder), **settings) as api:
            await api.put_region("eu-central")
            node = SimulatedNode(api, "only", "eu-central")
            await node.bring_up()
            node.keep_beating()
            made = World(api, node, module_database_url)
            try:
                await made.begin()
                yield made
            finally:
                await made.end()
                await node.stop_beating()


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    documented = {f"{method.upper()} {path}" for path, methods in make_document()["paths"].items() for method in methods}
    assert sorted(row.call for row in ROWS) == sorted(documented)
    for row in ROWS:
        assert set(row.expected) == set(COLUMNS) - ({"wrong_scope"} if "wrong_scope" not in row.expected else set()), row.call


def test_every_row_names_the_scope_that_the_route_asks_for() -> None:
    for path, methods in make_document()["paths"].items():
        for method, operation in methods.items():
            (row,) = (row for row in ROWS if row.call == f"{method.upper()} {path}")
            scopes = [scope for each in operation["security"] for scope in each.get("token", [])]
            assert scopes == ([row.scope] if row.scope else []), row.call


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.call)
async def test_everybody_gets_what_the_table_says(world: World, row: Row) -> None:
    seen = {}
    for column in COLUMNS:
        headers = await world.without(row.scope) if column == "wrong_scope" and row.scope else None
        if headers is None:
            headers = world.bearer("organization" if column == "wrong_scope" else column)
        method, _, path = row.call.partition(" ")
        for name in re.findall(r"\{(\w+)\}", path):
            path = path.replace("{" + name + "}", await world.object(row.fill.get(name, name)))
        body = None if row.body is None else world.fill(row.body, column, await world.object("new"))
        if column == "operator" and isinstance(body, dict) and row.call in {"POST /api/v1/projects", "POST /api/v1/tokens"}:
            body["organization"] = "demo"
        query = {"organization": "demo"} if column == "operator" and "/projects" in path and method != "POST" else {}
        answer = await ask(world.api.client, method, path, headers=headers, json=body, params={**query, **row.query})
        seen[column] = answer.status_code
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
        if column == "other_tenant" and path != "/openapi.json" and "docs" not in path:
            assert "standup" not in answer.text
            assert "alice" not in answer.text
    assert seen == row.expected
