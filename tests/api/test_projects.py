"""Projects and their settings."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.api.callers import new_organization, new_token, operator_of, pages_of
from tests.running_api import RunningApi

_FIRST_SETTINGS = {
    "max_ttl_seconds": 86_400,
    "rate_limit_per_second": 10_000,
    "room_url_template": None,
    "client_url_template": None,
    "end_at_expiry": False,
    "client_address_policy": "keep",
    "max_allocations": None,
    "max_bits_per_second": None,
    "credential_max_allocations": None,
    "credential_max_bits_per_second": None,
}
_OTHER_SETTINGS: dict[str, Any] = {
    "name": "Another name",
    "max_ttl_seconds": 60,
    "rate_limit_per_second": 5,
    "room_url_template": "https://app.example/rooms/{room}?tab=calls",
    "client_url_template": "http://app.example:8080/people/{client}",
    "is_default": False,
    "end_at_expiry": True,
    "client_address_policy": "truncate",
    "max_allocations": 100,
    "max_bits_per_second": 10**9,
    "credential_max_allocations": 4,
    "credential_max_bits_per_second": 2_000_000,
}
_NULLABLE = [name for name, value in _FIRST_SETTINGS.items() if value is None]


async def test_a_project_is_made_with_settings_and_shows_them(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator)
    plain = await operator.expect(201, "POST", "/projects", json={"organization": organization, "slug": "chat", "name": "Chat"})
    created_at = plain.pop("created_at")
    assert created_at.endswith("Z")
    assert plain == _FIRST_SETTINGS | {"slug": "chat", "organization": organization, "name": "Chat", "is_default": True}
    body = {"organization": organization, "slug": "calls", **_OTHER_SETTINGS}
    made = await operator.expect(201, "POST", "/projects", json=body)
    assert made.pop("created_at")
    assert made == body


@pytest.mark.parametrize("field", sorted(_OTHER_SETTINGS))
async def test_a_patch_changes_what_it_names_and_nothing_else(api: RunningApi, field: str) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    params = {"organization": organization}
    before = await operator.expect(200, "GET", "/projects/chat", params=params)
    after = await operator.expect(200, "PATCH", "/projects/chat", params=params, json={field: _OTHER_SETTINGS[field]})
    assert after == before | {field: _OTHER_SETTINGS[field]}
    assert await operator.expect(200, "GET", "/projects/chat", params=params) == after
    back = await operator("PATCH", "/projects/chat", params=params, json={field: None})
    if field in _NULLABLE:
        assert back.json() == before
    else:
        assert (back.status_code, back.json()["code"]) == (422, "fields_invalid")
        assert await operator.expect(200, "GET", "/projects/chat", params=params) == after


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\nb"),
        ("slug", "other"),
        ("max_ttl_seconds", 0),
        ("max_ttl_seconds", 86_401),
        ("max_ttl_seconds", 1.5),
        ("rate_limit_per_second", 0),
        ("rate_limit_per_second", 1_000_001),
        ("max_allocations", 0),
        ("max_allocations", 10**30),
        ("max_bits_per_second", 999),
        ("max_bits_per_second", 2**63),
        ("credential_max_allocations", -1),
        ("credential_max_bits_per_second", "1000"),
        ("client_address_policy", "forget"),
        ("is_default", "yes"),
        ("room_url_template", "https://app.example/rooms/"),
        ("room_url_template", "javascript:alert({room})"),
        ("room_url_template", "https:///{room}"),
        ("room_url_template", "https://[{room}"),
        ("room_url_template", "https://app.example/{room}\n"),
        ("room_url_template", "//app.example/{room}"),
        ("room_url_template", "https://app.example/{room}" + "x" * 2000),
        ("client_url_template", "https://app.example/{room}"),
        ("nmae", "misspelled"),
    ],
)
async def test_a_setting_out_of_its_bounds_changes_nothing(api: RunningApi, field: str, value: object) -> None:
    operator = operator_of(api)
    params = {"organization": "demo"}
    before = await operator.expect(200, "GET", "/projects/demo", params=params)
    answer = await operator("PATCH", "/projects/demo", params=params, json={"name": "changed", field: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "fields_invalid")
    assert field in answer.text
    assert await operator.expect(200, "GET", "/projects/demo", params=params) == before


async def test_an_organization_has_one_default_project_at_most(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat", "calls")
    caller, _ = await new_token(operator, "organization", ["credentials:issue", "projects:manage"], organization=organization)

    async def defaults() -> list[str]:
        return [each["slug"] for each in await pages_of(caller, "/projects", limit=10) if each["is_default"]]

    assert await defaults() == ["chat"]
    await caller.expect(200, "PATCH", "/projects/calls", json={"is_default": True})
    assert await defaults() == ["calls"]
    await caller.expect(201, "POST", "/projects", json={"slug": "more", "name": "More", "is_default": True})
    assert await defaults() == ["more"]
    await caller.expect(200, "POST", "/credentials/ice")
    await caller.expect(204, "DELETE", "/projects/more")
    assert await defaults() == []
    assert await caller.code("POST", "/credentials/ice") == "project_required"
    await caller.expect(200, "POST", "/credentials/ice", headers={"x-project": "chat"})


async def test_the_maximum_ttl_holds_as_soon_as_it_is_answered(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    caller, _ = await new_token(operator, "project", ["credentials:issue"], organization=organization, project="chat")
    await caller.expect(200, "POST", "/credentials/ice", json={"ttl": 100})
    for maximum in (50, 99, 20):
        await operator.expect(
            200, "PATCH", "/projects/chat", params={"organization": organization}, json={"max_ttl_seconds": maximum}
        )
        assert await caller.code("POST", "/credentials/ice", json={"ttl": maximum + 1}) == "fields_invalid"
        await caller.expect(200, "POST", "/credentials/ice", json={"ttl": maximum})


async def test_an_operator_names_the_organization(api: RunningApi) -> None:
    operator = operator_of(api)
    for method, json in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        answer = await operator(method, "/projects/demo", json=json)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "organization")
    answer = await operator("POST", "/projects", json={"slug": "x", "name": "x"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "organization")
    assert await operator.code("POST", "/projects", json={"slug": "x", "name": "x", "organization": "nobody"}) == "not_found"


async def test_the_same_slug_may_be_in_two_organizations_but_once_in_each(api: RunningApi) -> None:
    operator = operator_of(api)
    one, other = await new_organization(operator, "chat"), await new_organization(operator, "chat")
    assert await operator.code("POST", "/projects", json={"slug": "chat", "name": "x", "organization": one}) == "conflict"
    await operator.expect(200, "PATCH", "/projects/chat", params={"organization": one}, json={"name": "changed"})
    assert (await operator.expect(200, "GET", "/projects/chat", params={"organization": other}))["name"] == "chat"


async def test_another_organization_does_not_exist(api: RunningApi) -> None:
    operator = operator_of(api)
    mine, theirs = await new_organization(operator, "chat"), await new_organization(operator, "secret")
    caller, _ = await new_token(operator, "organization", ["projects:manage"], organization=mine)
    assert [each["slug"] for each in await pages_of(caller, "/projects", limit=10)] == ["chat"]
    assert await pages_of(caller, "/projects", limit=10, organization=theirs) == []
    for method in ("GET", "DELETE", "PATCH"):
        json = {"name": "mine now"} if method == "PATCH" else None
        assert await caller.code(method, "/projects/secret", json=json) == "not_found"
        assert await caller.code(method, "/projects/secret", json=json, params={"organization": theirs}) == "not_found"
    assert await caller.code("POST", "/projects", json={"slug": "x", "name": "x", "organization": theirs}) == "not_found"
    await caller.expect(200, "GET", "/projects/chat", params={"organization": mine})


async def test_a_project_token_reads_and_changes_its_own_project_alone(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat", "calls")
    caller, _ = await new_token(operator, "project", ["projects:manage"], organization=organization, project="calls")
    assert [each["slug"] for each in await pages_of(caller, "/projects", limit=10)] == ["calls"]
    await caller.expect(200, "PATCH", "/projects/calls", json={"max_ttl_seconds": 77})
    assert (await caller.expect(200, "GET", "/projects/calls"))["max_ttl_seconds"] == 77
    assert await caller.code("GET", "/projects/chat") == "not_found"
    assert await caller.code("PATCH", "/projects/chat", json={"max_ttl_seconds": 5}) == "not_found"
    for method, path, json in [
        ("POST", "/projects", {"slug": "x", "name": "x"}),
        ("DELETE", "/projects/calls", None),
        ("PATCH", "/projects/calls", {"is_default": True}),
    ]:
        assert await caller.code(method, path, json=json) == "scope_missing"


async def test_projects_are_listed_by_organization_and_slug(api: RunningApi) -> None:
    operator = operator_of(api)
    mine = await new_organization(operator, "c", "a", "b")
    assert [each["slug"] for each in await pages_of(operator, "/projects", limit=1, organization=mine)] == ["a", "b", "c"]
    everywhere = [(each["organization"], each["slug"]) for each in await pages_of(operator, "/projects", limit=3)]
    assert everywhere == sorted(everywhere)
    assert {(mine, "a"), ("demo", "demo")} <= set(everywhere)


async def test_a_deleted_project_is_gone_for_its_tokens_and_its_credentials_are_revoked(
    api: RunningApi, module_database_url: str
) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    caller, _ = await new_token(operator, "project", ["credentials:issue"], organization=organization, project="chat")
    await caller.expect(200, "POST", "/credentials/ice")
    connection = await asyncpg.connect(module_database_url)
    project_id = await connection.fetchval("SELECT project_id FROM tokens WHERE id = $1", caller.token[4:16])
    await operator.expect(204, "DELETE", "/projects/chat", params={"organization": organization})
    assert await connection.fetchval("SELECT kind FROM revocations WHERE project_id = $1", project_id) == "project"
    await connection.close()
    assert await caller.code("POST", "/credentials/ice") == "token_invalid"
    assert await operator.code("DELETE", "/projects/chat", params={"organization": organization}) == "not_found"
