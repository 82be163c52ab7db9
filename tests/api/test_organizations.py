"""Organizations, as operators manage them."""

from __future__ import annotations

import asyncpg
import pytest

from tests.api.callers import new_organization, new_token, operator_of, pages_of
from tests.running_api import RunningApi


async def test_an_organization_is_made_shown_renamed_and_deleted(api: RunningApi) -> None:
    operator = operator_of(api)
    made = await operator.expect(201, "POST", "/organizations", json={"slug": "acme", "name": "Acme"})
    assert (made["slug"], made["name"], made["projects"]) == ("acme", "Acme", 0)
    assert await operator.expect(200, "GET", "/organizations/acme") == made
    renamed = await operator.expect(200, "PATCH", "/organizations/acme", json={"name": "Acme & Co. ☎"})
    assert renamed == made | {"name": "Acme & Co. ☎"}
    assert await operator.expect(200, "PATCH", "/organizations/acme", json={}) == renamed
    assert await operator.expect(200, "GET", "/organizations/acme") == renamed
    await operator.expect(204, "DELETE", "/organizations/acme")
    assert await operator.code("GET", "/organizations/acme") == "not_found"
    assert await operator.code("DELETE", "/organizations/acme") == "not_found"


async def test_a_slug_is_taken_once(api: RunningApi) -> None:
    operator = operator_of(api)
    slug = await new_organization(operator)
    again = await operator("POST", "/organizations", json={"slug": slug, "name": "again"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert slug in again.json()["detail"]


async def test_the_list_is_in_the_order_of_slugs_and_goes_on_after_a_cursor(api: RunningApi) -> None:
    operator = operator_of(api)
    made = [await new_organization(operator) for _ in range(5)]
    listed = [each["slug"] for each in await pages_of(operator, "/organizations", limit=2)]
    assert listed == sorted(listed)
    assert set(made) <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("kind", ["project", "organization"])
async def test_organizations_are_for_operators(api: RunningApi, kind: str) -> None:
    caller = operator_of(api).with_token(api.tokens[f"{kind}_token"])
    for method, path in [("GET", "/organizations"), ("GET", "/organizations/demo"), ("DELETE", "/organizations/demo")]:
        assert await caller.code(method, path) == "scope_missing"
    assert await caller.code("POST", "/organizations", json={"slug": "x", "name": "x"}) == "scope_missing"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "body_malformed"),
        ("[]", "fields_invalid"),
        ('{"slug": "x"}', "fields_invalid"),
        ('{"slug": "Not a slug", "name": "x"}', "fields_invalid"),
        ('{"slug": "a\\u0000b", "name": "x"}', "fields_invalid"),
        ('{"slug": "x", "name": "a\\u0000b"}', "fields_invalid"),
        ('{"slug": "x", "name": ""}', "fields_invalid"),
        ('{"slug": "x", "name": "' + "n" * 101 + '"}', "fields_invalid"),
        ('{"slug": "x", "name": "x", "nmae": "y"}', "fields_invalid"),
        ("[" * 30_000, "fields_invalid"),
    ],
)
async def test_a_wrong_body_makes_nothing(api: RunningApi, body: str, code: str) -> None:
    operator = operator_of(api)
    assert await operator.code("POST", "/organizations", content=body) == code
    assert await operator.code("GET", "/organizations/x") == "not_found"


@pytest.mark.parametrize("slug", ["%00", "a%00b", "ORG", "a" * 64, "%F0%9F%98%80", "%ff"])
async def test_what_cannot_be_a_slug_names_nothing(api: RunningApi, slug: str) -> None:
    answer = await operator_of(api)("GET", f"/organizations/{slug}")
    assert answer.status_code in {400, 404}


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=junk", "cursor=WyIAIl0", "cursor=%00", "cursor=W1tb"])
async def test_a_wrong_page_is_refused(api: RunningApi, query: str) -> None:
    for path in ("/organizations", "/projects", "/tokens", "/fleet/audit"):
        answer = await operator_of(api)("GET", f"{path}?{query}")
        assert answer.status_code in {400, 422}, f"{path}: {answer.text}"


async def test_an_organization_takes_its_projects_and_tokens_with_it(api: RunningApi, module_database_url: str) -> None:
    operator = operator_of(api)
    slug = await new_organization(operator, "chat", "calls")
    of_organization, _ = await new_token(operator, "organization", ["projects:manage", "credentials:issue"], organization=slug)
    of_project, _ = await new_token(operator, "project", ["credentials:issue"], organization=slug, project="calls")
    await of_organization.expect(200, "GET", "/projects/chat")
    await of_project.expect(200, "POST", "/credentials/ice")
    connection = await asyncpg.connect(module_database_url)
    ids = await connection.fetch(
        "SELECT p.id FROM projects p JOIN organizations o ON o.id = organization_id WHERE o.slug = $1", slug
    )
    await operator.expect(204, "DELETE", f"/organizations/{slug}")
    revoked = await connection.fetch(
        "SELECT project_id FROM revocations WHERE kind = 'project' AND project_id = ANY($1)", [row["id"] for row in ids]
    )
    assert len(revoked) == len(ids) == 2
    await connection.close()
    assert await of_organization.code("GET", "/projects/chat") == "token_invalid"
    assert await of_project.code("POST", "/credentials/ice") == "token_invalid"
    assert await operator.code("POST", "/credentials/ice", headers={"x-project": f"{slug}/chat"}) == "project_unknown"
    assert await operator.code("GET", "/projects/chat", params={"organization": slug}) == "not_found"
