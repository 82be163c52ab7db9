"""Every example of the page runs against the real API, and every call has one."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any, cast

import pytest

from controlplane.api.app import make_litestar
from controlplane.api.services import Services
from controlplane.client import Client, TurnfleetError, errors
from controlplane.client.call import Call, Pages, Stream
from controlplane.client.methods import Group, call, pages, stream
from controlplane.wire.tenants_api import ProjectBody, ProjectPatch
from tests.client.used_api import Used
from tests.docs.pages import fenced, page, rows
from tests.running_api import SimulatedNode

_PAGE = "docs/reference/python-client.md"
_NOT_FOR_CALLERS = re.compile(r"/api/v1/(agents|session)/?|^/(?!api/v1)")


def _groups() -> dict[str, Group[Any]]:
    client = Client("https://turn.example", "a-token")
    return {name: group for name, group in vars(client).items() if isinstance(group, Group)}


def _calls() -> dict[str, call[Any, Any] | pages[Any, Any] | stream[Any, Any]]:
    """`group.call` → what describes it."""
    return {
        f"{name}.{attribute}": described
        for name, group in _groups().items()
        for attribute, described in vars(type(group)).items()
        if isinstance(described, call | pages | stream)
    }


def _describe(described: call[Any, Any] | pages[Any, Any] | stream[Any, Any]) -> str:
    """`METHOD /path` with `x` for what is named in it."""
    given: dict[str, Any] = {}
    for parameter in inspect.signature(described).parameters.values():
        if parameter.default is inspect.Parameter.empty:
            annotation = str(parameter.annotation)
            given[parameter.name] = (
                ProjectBody(slug="x", name="x")
                if annotation == "ProjectBody"
                else ProjectPatch()
                if annotation == "ProjectPatch"
                else []
                if annotation.startswith(("Sequence", "Iterable"))
                else "x"
            )
    made = described(**given)
    assert isinstance(made, Call | Pages | Stream)
    return f"{made.method if isinstance(made, Call) else 'GET'} /api/v1{made.path}"


class _Settings:
    cors_origins: tuple[str, ...] = ()


class _Services:
    settings = _Settings()


def _routes() -> set[str]:
    found = set()
    for route in make_litestar(cast("Services", _Services())).routes:
        methods = {str(method) for method in getattr(route, "methods", ())} or {"POST"}
        if not _NOT_FOR_CALLERS.search(route.path):
            found |= {f"{method} {re.sub(r'{[^}]*}', 'x', route.path)}" for method in methods - {"OPTIONS", "HEAD"}}
    return found


def test_every_route_for_applications_and_operators_has_a_call_and_the_other_way_round() -> None:
    assert {_describe(described) for described in _calls().values()} == _routes()


def test_every_call_has_an_example_and_a_sentence() -> None:
    code = "\n".join(fenced(page(_PAGE), "python"))
    assert [name for name in _calls() if f".{name}(" not in code] == []
    assert [name for name, described in _calls().items() if not (inspect.getdoc(described) or "").endswith((".", "."))] == []


def test_every_class_of_errors_is_on_the_page() -> None:
    shown = {word for row in rows(page(_PAGE), under="Errors") for word in row.first_words}
    known = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, TurnfleetError)}
    assert known - shown == {"TurnfleetError", "ApiError"}
    assert shown <= known


async def test_the_examples_run(used: Used, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNFLEET_CLIENT_URL", used.api.url)
    monkeypatch.setenv("TURNFLEET_CLIENT_TOKEN", used.api.tokens["organization_token"])
    monkeypatch.setenv("OPERATOR_TOKEN", used.api.tokens["operator_token"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names: dict[str, Any] = {"CREDENTIAL_ID": used.credential_id, "HOOK_URL": f"{used.api.url}/healthz"}
    await SimulatedNode(used.api, "eu-old", "eu-central").join()
    blocks = fenced(page(_PAGE), "python")
    assert len(blocks) > 15
    for block in blocks:
        code = compile(block, f"{_PAGE}: {block.strip().splitlines()[0]}", "exec")
        await asyncio.to_thread(exec, code, names)
    for made in {id(value): value for value in names.values() if isinstance(value, Client)}.values():
        made.close()
    assert names["room"].clients[0].key in {"alice", "bob"}
    assert names["outcome"].status == 405
    assert names["spreadsheet"].splitlines()[0].startswith("at,bucket,group_by,key,")
