"""Every route is documented, every documented route exists, and so do the fields."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import msgspec
import pytest

from controlplane.api.app import make_litestar
from controlplane.api.services import Services
from controlplane.wire import (
    agent_api,
    events_api,
    evidence_api,
    fleet_api,
    found_api,
    history_api,
    ice_api,
    probe_api,
    records_api,
    rolls_api,
    rotation_api,
    tenants_api,
)
from tests.docs.pages import DOCS, fenced, headings, is_documented, page, pages

_PAGE = "docs/reference/api.md"
_AGENT_PAGE = "docs/reference/agent-protocol.md"
_NOT_SENT = {"ReasonedHealth.detail", "ReasonedHealth.reason"}
"""Of a type that no route answers with."""
_ROUTE = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE|HEAD) /\S+")


class _Settings:
    cors_origins: tuple[str, ...] = ()


class _Services:
    settings = _Settings()


def _routes() -> set[str]:
    """`METHOD /path` of every route. A plain ASGI route answers POST alone, and says 405 by itself."""
    found: set[str] = set()
    for route in make_litestar(cast("Services", _Services())).routes:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        methods = {str(method) for method in cast("Any", route).methods} or {"POST"}
        found |= {f"{method} {path}" for method in methods - {"OPTIONS", "HEAD"}}
    return found


def _documented() -> list[str]:
    return [heading.strip("`") for heading in headings(page(_PAGE)) if _ROUTE.fullmatch(heading.strip("`"))]


def test_the_routes_of_the_app_are_found() -> None:
    assert {"POST /api/v1/credentials/ice", "GET /api/v1/fleet/nodes/{node_id}", "GET /healthz"} <= _routes()


def test_every_route_has_a_heading_and_every_heading_a_route() -> None:
    assert sorted(_documented()) == sorted(_routes())


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_names_no_route_that_does_not_exist(name: str) -> None:
    code = " ".join(re.findall(r"`([^`\n]+)`", page(name)))
    named = {match.partition("?")[0] for match in _ROUTE.findall(code)}
    assert named - _routes() == set()


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_curl_asks_for_an_address_that_exists(name: str) -> None:
    known = [re.sub(r"\{\w+\}", "[^/]+", route.partition(" ")[2]) for route in _routes()] + ["/metrics"]
    lines = [line for block in fenced(page(name), "sh", "console") for line in block.splitlines() if "curl " in line]
    for path in re.findall(r"(?:\$A|https?://[\w.:-]+)(/[\w./$-]+)", "\n".join(lines)):
        assert any(re.fullmatch(each, path) for each in known), f"{name}: {path}"


def _fields(module: Any) -> dict[str, set[str]]:
    structs = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    return {kind.__name__: set(kind.__struct_encode_fields__) for kind in structs if kind.__module__ == module.__name__}


@pytest.mark.parametrize(
    "module",
    [
        *(events_api, evidence_api, fleet_api, found_api, history_api, ice_api, probe_api, records_api, rolls_api, rotation_api),
        tenants_api,
    ],
    ids=lambda module: module.__name__.rpartition(".")[2],
)
def test_every_field_that_operators_and_applications_see_is_on_the_page(module: Any) -> None:
    shown = page(_PAGE) + page("docs/quickstart.md")
    missing = {
        f"{struct}.{field}"
        for struct, names in _fields(module).items()
        for field in names
        if not is_documented(field, shown) and f'"{field}"' not in shown
    }
    assert missing - _NOT_SENT == set()


@pytest.mark.parametrize(
    "body",
    [
        *[fleet_api.RegionBody, fleet_api.JoinTokenBody, tenants_api.ProjectBody, tenants_api.TokenBody, probe_api.NodeProbeBody],
        rolls_api.RollBody,
    ],
)
def test_every_field_that_operators_send_is_explained(body: type[msgspec.Struct]) -> None:
    assert [field for field in body.__struct_encode_fields__ if not is_documented(field, page(_PAGE))] == []


def test_every_field_of_the_agent_protocol_is_on_its_page() -> None:
    text = page(_AGENT_PAGE)
    missing = {
        f"{struct}.{field}"
        for module in (agent_api, found_api)
        for struct, names in _fields(module).items()
        for field in names
        if struct != "FoundView" and not is_documented(field, text)
    }
    assert missing == set()


@pytest.mark.parametrize("name", sorted(pages()))
def test_json_examples_are_json(name: str) -> None:
    for block in fenced(page(name), "json"):
        json.loads(block)


def test_the_example_of_the_overview_has_every_field_and_no_other() -> None:
    example = next(block for block in fenced(page(_PAGE), "json") if '"worst_nodes"' in block)
    msgspec.json.decode(example, type=fleet_api.Overview)
    assert set(json.loads(example)) == set(fleet_api.Overview.__struct_fields__)


def test_the_example_of_a_node_has_every_field_and_no_other() -> None:
    example = next(block for block in fenced(page(_PAGE), "json") if '"signing_version"' in block)
    msgspec.json.decode(example, type=fleet_api.NodeDetail)
    assert set(json.loads(example)) == set(fleet_api.NodeDetail.__struct_fields__)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("max_ttl_seconds", tenants_api.ProjectView),
        ("prefix", tenants_api.NewTokenView),
        ("actor_kind", tenants_api.AuditList),
        ("became", events_api.FleetEventList),
        ("projects", tenants_api.OrganizationView),
        ("as_expected", probe_api.NodeProbeView),
        ("eligible_ratio", history_api.NodeHistory),
        ("operational_ratio", history_api.RegionHistory),
        ("waits_for", rolls_api.RollView),
    ],
)
def test_the_examples_of_tenants_have_every_field_and_no_other(key: str, kind: type[msgspec.Struct]) -> None:
    example = next(block for block in fenced(page(_PAGE), "json") if f'"{key}":' in block)
    assert json.loads(msgspec.json.encode(msgspec.json.decode(example, type=kind))) == json.loads(example)


def test_the_example_of_the_ice_reply_has_the_two_top_level_keys() -> None:
    readme = next(block for block in fenced(page("README.md"), "json") if '"iceServers"' in block)
    assert set(json.loads(readme)) == {"iceServers", "expiresAt"}


def test_every_reference_page_is_in_the_index() -> None:
    index = page("docs/README.md")
    names = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"README.md"}
    assert {name for name in names if f"({name})" not in index} == set()
