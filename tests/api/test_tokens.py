"""Tokens: who may make, see, change, rotate and delete which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from controlplane.wire.tenants_api import SCOPES
from controlplane.wire.token_format import parse_token
from tests.api.callers import Caller, new_organization, new_token, operator_of, pages_of
from tests.running_api import RunningApi, until

_ISSUE = ["credentials:issue"]
_MANAGE = ["credentials:issue", "tokens:manage"]


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def issues(caller: Caller) -> bool:
    return (await caller("POST", "/credentials/ice")).status_code == 200


async def test_a_token_is_shown_once_and_stored_as_a_hash(api: RunningApi, module_database_url: str) -> None:
    operator = operator_of(api)
    expires_at = in_seconds(3600)
    body = {
        "kind": "project", "name": "Chat server", "scopes": ["usage:read", "credentials:issue", "usage:read"],
        "organization": "demo", "project": "demo", "expires_at": expires_at,
    }  # fmt: skip
    made = await operator.expect(201, "POST", "/tokens", json=body)
    token = made.pop("token")
    parsed = parse_token(token)
    assert parsed is not None
    assert (made["id"], made["prefix"]) == (parsed.token_id, token[:16])
    assert made["created_by"] == api.tokens["operator_token"][4:16]
    assert at(made["expires_at"]) == at(expires_at)
    shown = {name: made[name] for name in ("kind", "name", "scopes", "organization", "project", "last_used_at", "successor")}
    assert shown == {
        "kind": "project", "name": "Chat server", "scopes": ["credentials:issue", "usage:read"], "organization": "demo",
        "project": "demo", "last_used_at": None, "successor": None,
    }  # fmt: skip
    assert await operator.expect(200, "GET", f"/tokens/{made['id']}") == made
    assert await issues(operator.with_token(token))
    connection = await asyncpg.connect(module_database_url)
    for table in ("tokens", "audit"):
        stored = await connection.fetch(f"SELECT * FROM {table}")
        assert stored
        assert not any(token[16:] in str(dict(row)) for row in stored)
    await connection.close()
    assert token[16:] not in api.log_file.read_text()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"scopes": []}, "fields_invalid"),
        ({"scopes": ["credentials:print"]}, "fields_invalid"),
        ({"scopes": ["fleet:read"]}, "fields_invalid"),
        ({"kind": "node"}, "fields_invalid"),
        ({"name": ""}, "fields_invalid"),
        ({"name": "nul\x00"}, "fields_invalid"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "fields_invalid"),
        ({"expires_at": "2100-01-01T00:00:00Z"}, "fields_invalid"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "fields_invalid"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "fields_invalid"),
        ({"expires_at": "2050-01-01T00:00:00"}, "fields_invalid"),
        ({"expires_at": 10**30}, "fields_invalid"),
        ({"organization": "nobody"}, "project_unknown"),
        ({"project": "nothing"}, "project_unknown"),
        ({"kind": "organization"}, "fields_invalid"),
        ({"kind": "operator"}, "fields_invalid"),
        ({"colour": "red"}, "fields_invalid"),
    ],
)
async def test_a_token_that_cannot_be_is_not_made(api: RunningApi, fields: dict[str, Any], code: str) -> None:
    operator = operator_of(api)
    before = await pages_of(operator, "/tokens", limit=500)
    body = {"kind": "project", "name": "x", "scopes": _ISSUE, "organization": "demo", "project": "demo", **fields}
    assert await operator.code("POST", "/tokens", json=body) == code
    assert len(await pages_of(operator, "/tokens", limit=500)) == len(before)


async def test_who_may_make_which_kind(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat", "calls")
    of_organization, _ = await new_token(operator, "organization", _MANAGE, organization=organization)
    of_project, _ = await new_token(of_organization, "project", _MANAGE, project="chat")
    weak_operator, _ = await new_token(operator, "operator", _MANAGE)
    wanted = {"name": "x", "scopes": _ISSUE}
    made = await of_project.expect(201, "POST", "/tokens", json={"kind": "project", **wanted})
    assert (made["organization"], made["project"]) == (organization, "chat")
    for caller, fields, code in [
        (of_project, {"kind": "project", "project": "calls"}, "project_unknown"),
        (of_project, {"kind": "organization"}, "scope_missing"),
        (of_project, {"kind": "operator"}, "scope_missing"),
        (of_organization, {"kind": "project"}, "project_required"),
        (of_organization, {"kind": "organization", "organization": "demo"}, "not_found"),
        (of_organization, {"kind": "project", "organization": "demo", "project": "demo"}, "project_unknown"),
        (of_organization, {"kind": "operator"}, "scope_missing"),
        (weak_operator, {"kind": "operator"}, "scope_missing"),
        (operator, {"kind": "organization"}, "fields_invalid"),
        (operator, {"kind": "organization", "organization": "nobody"}, "not_found"),
    ]:
        assert await caller.code("POST", "/tokens", json={**wanted, **fields}) == code, fields


async def test_nobody_gives_away_a_scope_that_they_lack(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    caller, _ = await new_token(operator, "organization", _MANAGE, organization=organization)
    strong, strong_id = await new_token(
        operator, "project", ["credentials:issue", "usage:read"], organization=organization, project="chat"
    )
    _, weak_id = await new_token(operator, "project", _ISSUE, organization=organization, project="chat")
    refused = await caller("POST", "/tokens", json={"kind": "project", "project": "chat", "name": "x", "scopes": ["usage:read"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert "usage:read" in refused.json()["detail"]
    assert await caller.code("PATCH", f"/tokens/{weak_id}", json={"scopes": ["usage:read"]}) == "scope_missing"
    # Who rotates a token gets to see its successor.
    assert await caller.code("POST", f"/tokens/{strong_id}/rotate") == "scope_missing"
    assert (await operator.expect(200, "GET", f"/tokens/{strong_id}"))["successor"] is None
    assert (await caller.expect(200, "PATCH", f"/tokens/{strong_id}", json={"name": "renamed"}))["scopes"] == [
        "credentials:issue", "usage:read",
    ]  # fmt: skip
    assert await issues(strong)


async def test_a_scope_that_was_taken_away_is_not_given_away(api: RunningApi) -> None:
    operator = operator_of(api)
    caller, caller_id = await new_token(operator, "organization", [*_MANAGE, "usage:read"], organization="demo")
    body = {"kind": "project", "project": "demo", "name": "x", "scopes": ["usage:read"]}
    await caller.expect(201, "POST", "/tokens", json=body)
    await operator.expect(200, "PATCH", f"/tokens/{caller_id}", json={"scopes": _MANAGE})
    assert await caller.code("POST", "/tokens", json=body) == "scope_missing"


async def test_tokens_of_others_do_not_exist(api: RunningApi) -> None:
    operator = operator_of(api)
    mine, theirs = await new_organization(operator, "chat", "calls"), await new_organization(operator, "chat")
    of_organization, of_organization_id = await new_token(operator, "organization", _MANAGE, organization=mine)
    of_project, of_project_id = await new_token(operator, "project", _MANAGE, organization=mine, project="chat")
    _, sibling_id = await new_token(operator, "project", _ISSUE, organization=mine, project="calls")
    _, stranger_id = await new_token(operator, "organization", _ISSUE, organization=theirs)
    an_operator, operator_id = await new_token(operator, "operator", _MANAGE)

    async def seen(caller: Caller, **params: str) -> set[str]:
        return {each["id"] for each in await pages_of(caller, "/tokens", limit=2, **params)}

    assert await seen(of_project) == {of_project_id}
    assert await seen(of_organization) == {of_organization_id, of_project_id, sibling_id}
    assert await seen(of_organization, kind="project", project="calls") == {sibling_id}
    assert await seen(of_organization, organization=theirs) == set()
    assert await seen(operator, organization=theirs) == {stranger_id}
    assert operator_id in await seen(operator, kind="operator")
    assert operator_id not in await seen(an_operator)  # it lacks tenants:manage
    for caller, token_id in [
        (of_project, sibling_id),
        (of_project, of_organization_id),
        (of_organization, stranger_id),
        (of_organization, operator_id),
        (an_operator, operator_id),
        (of_organization, "0" * 12),
    ]:
        for method, path, json in [
            ("GET", f"/tokens/{token_id}", None),
            ("PATCH", f"/tokens/{token_id}", {"name": "mine"}),
            ("POST", f"/tokens/{token_id}/rotate", {}),
            ("DELETE", f"/tokens/{token_id}", None),
        ]:
            assert await caller.code(method, path, json=json) == "not_found", (method, path)


@pytest.mark.parametrize("token_id", ["%00", "a%00bcdefghijk", "x", "0" * 13, "%F0%9F%98%80" * 3, "-" * 12])
async def test_what_cannot_be_an_id_names_nothing(api: RunningApi, token_id: str) -> None:
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/rotate")]:
        assert (await operator_of(api)(method, f"/tokens/{token_id}{path}")).status_code in {400, 404}


async def test_a_change_is_in_effect_when_it_is_answered(api: RunningApi) -> None:
    operator = operator_of(api)
    caller, caller_id = await new_token(
        operator, "project", ["credentials:issue", "tokens:manage"], organization="demo", project="demo"
    )
    for _ in range(3):
        assert await issues(caller)
        changed = await operator.expect(200, "PATCH", f"/tokens/{caller_id}", json={"scopes": ["tokens:manage"], "name": "No more"})
        assert (changed["scopes"], changed["name"]) == (["tokens:manage"], "No more")
        assert await caller.code("POST", "/credentials/ice") == "scope_missing"
        await operator.expect(200, "PATCH", f"/tokens/{caller_id}", json={"scopes": ["credentials:issue", "tokens:manage"]})
    assert await issues(caller)
    await caller.expect(204, "DELETE", f"/tokens/{caller_id}")  # also itself
    assert await caller.code("POST", "/credentials/ice") == "token_invalid"
    assert await operator.code("GET", f"/tokens/{caller_id}") == "not_found"
    assert await operator.code("DELETE", f"/tokens/{caller_id}") == "not_found"


async def test_a_token_works_until_it_expires(api: RunningApi) -> None:
    operator = operator_of(api)
    caller, caller_id = await new_token(
        operator, "project", _ISSUE, organization="demo", project="demo", expires_at=in_seconds(1.5)
    )
    assert await issues(caller)

    async def expired() -> bool:
        return await caller.code("POST", "/credentials/ice") == "token_invalid" if not await issues(caller) else False

    assert await until(expired, within_seconds=5) > 0.5
    assert await operator.code("POST", f"/tokens/{caller_id}/rotate") == "conflict"
    await operator.expect(200, "PATCH", f"/tokens/{caller_id}", json={"expires_at": None})
    assert await issues(caller)
    for wrong in ("2020-01-01T00:00:00Z", "2150-01-01T00:00:00Z", "yesterday"):
        assert await operator.code("PATCH", f"/tokens/{caller_id}", json={"expires_at": wrong}) == "fields_invalid"
    assert await issues(caller)


async def test_rotation_leaves_a_successor_like_it_and_an_end(api: RunningApi) -> None:
    operator = operator_of(api)
    old, old_id = await new_token(operator, "project", _MANAGE, organization="demo", project="demo", name="Chat")
    made = await old.expect(201, "POST", f"/tokens/{old_id}/rotate", json={"overlap_seconds": 1})
    new = old.with_token(made.pop("token"))
    before = await operator.expect(200, "GET", f"/tokens/{old_id}")
    assert before["successor"] == made["id"]
    assert timedelta(0) < at(before["expires_at"]) - datetime.now(UTC) <= timedelta(seconds=1)
    for name in ("kind", "name", "scopes", "organization", "project"):
        assert made[name] == before[name]
    assert (made["expires_at"], made["created_by"], made["successor"]) == (None, old_id, None)
    assert await issues(new)
    again = await new("POST", f"/tokens/{old_id}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert made["id"] in again.json()["detail"]

    async def refused() -> bool:
        return not await issues(old)

    await until(refused, within_seconds=3)
    assert await issues(new)


@pytest.mark.parametrize("body", [{}, None])
async def test_the_overlap_is_a_day_unless_it_is_said(api: RunningApi, body: dict[str, Any] | None) -> None:
    operator = operator_of(api)
    old, old_id = await new_token(operator, "operator", _MANAGE)
    await operator.expect(201, "POST", f"/tokens/{old_id}/rotate", json=body)
    left = at((await operator.expect(200, "GET", f"/tokens/{old_id}"))["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(days=1)
    await old.expect(200, "GET", "/tokens")


async def test_no_overlap_ends_the_old_one_at_once(api: RunningApi) -> None:
    operator = operator_of(api)
    old, old_id = await new_token(operator, "project", _ISSUE, organization="demo", project="demo")
    assert await issues(old)
    made = await operator.expect(201, "POST", f"/tokens/{old_id}/rotate", json={"overlap_seconds": 0})
    assert not await issues(old)
    assert await issues(old.with_token(made["token"]))


async def test_an_overlap_never_makes_the_old_one_live_longer(api: RunningApi) -> None:
    operator = operator_of(api)
    expires_at = in_seconds(600)
    _, old_id = await new_token(operator, "project", _ISSUE, organization="demo", project="demo", expires_at=expires_at)
    made = await operator.expect(201, "POST", f"/tokens/{old_id}/rotate", json={"overlap_seconds": 604_800})
    assert at((await operator.expect(200, "GET", f"/tokens/{old_id}"))["expires_at"]) == at(expires_at)
    assert abs(at(made["expires_at"]) - datetime.now(UTC) - timedelta(seconds=600)) < timedelta(seconds=20)


@pytest.mark.parametrize("overlap", [-1, 604_801, 1.5, "60", None, 10**30])
async def test_an_overlap_out_of_bounds_rotates_nothing(api: RunningApi, overlap: object) -> None:
    operator = operator_of(api)
    _, old_id = await new_token(operator, "project", _ISSUE, organization="demo", project="demo")
    assert await operator.code("POST", f"/tokens/{old_id}/rotate", json={"overlap_seconds": overlap}) == "fields_invalid"
    assert (await operator.expect(200, "GET", f"/tokens/{old_id}"))["successor"] is None


async def test_tokens_are_listed_newest_first_without_gaps(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    ids = [(await new_token(operator, "project", _ISSUE, organization=organization, project="chat"))[1] for _ in range(5)]
    first = await operator.expect(200, "GET", "/tokens", params={"organization": organization, "limit": 2})
    _, newer = await new_token(operator, "project", _ISSUE, organization=organization, project="chat")
    rest = await operator.expect(
        200, "GET", "/tokens", params={"organization": organization, "limit": 500, "cursor": first["next_cursor"]}
    )
    assert [each["id"] for each in first["items"] + rest["items"]] == ids[::-1]
    assert newer not in [each["id"] for each in rest["items"]]
    assert rest["next_cursor"] is None


async def test_the_last_use_is_shown(api: RunningApi) -> None:
    operator = operator_of(api)

    async def shown() -> bool:
        mine = await operator.expect(200, "GET", f"/tokens/{operator.token[4:16]}")
        return mine["last_used_at"] is not None

    await until(shown, within_seconds=15, what="the use of the operator token is noted")


async def test_the_bootstrap_organization_token_may_do_what_its_scopes_say(api: RunningApi) -> None:
    caller = operator_of(api).with_token(api.tokens["organization_token"])
    all_but_operators = [scope for scope in SCOPES if scope not in {"fleet:read", "fleet:operate", "tenants:manage"}]
    made, _ = await new_token(caller, "organization", all_but_operators)
    await made.expect(200, "GET", "/projects/demo")
