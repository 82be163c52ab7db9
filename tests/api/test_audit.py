"""Who changed what, from where, before and after."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.callers import Caller, new_organization, new_token, operator_of, pages_of
from tests.running_api import RunningApi


async def entries(operator: Caller, **params: Any) -> list[dict[str, Any]]:
    """The oldest first."""
    return (await pages_of(operator, "/fleet/audit", limit=3, **params))[::-1]


async def test_every_change_is_written_down_with_what_was_and_what_became(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    _, token_id = await new_token(operator, "organization", ["credentials:issue", "projects:manage"], organization=organization)
    await operator.expect(200, "PATCH", f"/organizations/{organization}", json={"name": "Renamed"})
    await operator.expect(
        200,
        "PATCH",
        "/projects/chat",
        params={"organization": organization},
        json={"max_ttl_seconds": 60, "max_allocations": 3},
        headers={"x-request-id": "request-of-the-patch"},
    )
    await operator.expect(200, "PATCH", f"/tokens/{token_id}", json={"scopes": ["credentials:issue"]})
    successor = await operator.expect(201, "POST", f"/tokens/{token_id}/rotate")
    await operator.expect(204, "DELETE", f"/tokens/{token_id}")
    found = await entries(operator, organization=organization)
    assert [(each["action"], each["object"]) for each in found] == [
        ("organization.create", organization),
        ("project.create", "chat"),
        ("token.create", token_id),
        ("organization.patch", organization),
        ("project.patch", "chat"),
        ("token.patch", token_id),
        ("token.create", successor["id"]),
        ("token.rotate", token_id),
        ("token.delete", token_id),
    ]
    by_action = {each["action"]: each for each in found}
    patch = by_action["project.patch"]
    assert (patch["before"], patch["after"]) == (
        {"max_ttl_seconds": 86_400, "max_allocations": None},
        {"max_ttl_seconds": 60, "max_allocations": 3},
    )
    assert (patch["organization"], patch["project"]) == (organization, "chat")
    assert (patch["actor"], patch["actor_kind"]) == (api.tokens["operator_token"][4:16], "operator")
    assert (patch["address"], patch["request_id"]) == ("127.0.0.1", "request-of-the-patch")
    assert by_action["organization.patch"]["after"] == {"name": "Renamed"}
    assert by_action["token.patch"]["after"] == {"scopes": ["credentials:issue"]}
    assert by_action["token.rotate"]["after"]["successor_id"] == successor["id"]
    assert by_action["token.delete"]["before"]["token_id"] == token_id
    assert by_action["project.create"]["before"] is None
    assert by_action["project.create"]["after"]["slug"] == "chat"
    assert successor["token"][16:] not in str(found)


async def test_regions_and_join_tokens_are_written_down_too(api: RunningApi) -> None:
    operator = operator_of(api)
    await api.put_region("audited", 1.0, 2.0)
    await api.put_region("audited", 1.0, 2.0)
    await api.put_region("audited", 3.0, 2.0)
    join_token = await api.join_token("audited", name="relay-9")
    made, changed, token = (await entries(operator))[-3:]
    assert (made["action"], made["object"], made["before"]) == ("region.create", "audited", None)
    assert (changed["action"], changed["before"]["latitude"], changed["after"]["latitude"]) == ("region.patch", 1.0, 3.0)
    assert (token["action"], token["object"], token["after"]["node_name"]) == ("join_token.create", join_token[4:16], "relay-9")
    assert join_token[16:] not in str(token)


async def test_what_changed_nothing_is_not_written_down(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    params = {"organization": organization}
    await operator.expect(200, "PATCH", "/projects/chat", params=params, json={"name": "chat", "is_default": True})
    await operator.expect(200, "PATCH", f"/organizations/{organization}", json={"name": organization})
    assert await operator.code("PATCH", "/projects/chat", params=params, json={"max_ttl_seconds": 0}) == "fields_invalid"
    assert await operator.code("POST", "/projects", json={"slug": "chat", "name": "x", **params}) == "conflict"
    assert [each["action"] for each in await entries(operator, organization=organization)] == [
        "organization.create", "project.create",
    ]  # fmt: skip


async def test_a_default_that_moves_is_written_down_on_both_projects(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat", "calls")
    await operator.expect(200, "PATCH", "/projects/calls", params={"organization": organization}, json={"is_default": True})
    found = await entries(operator, organization=organization, action="project.patch")
    assert [(each["object"], each["after"]) for each in found] == [("chat", {"is_default": False}), ("calls", {"is_default": True})]


async def test_filters(api: RunningApi) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator)
    caller, caller_id = await new_token(operator, "organization", ["projects:manage"], organization=organization)
    await caller.expect(201, "POST", "/projects", json={"slug": "one", "name": "One"})
    await caller.expect(201, "POST", "/projects", json={"slug": "two", "name": "Two"})
    one, two = await entries(operator, actor=caller_id)
    assert (one["object"], two["object"], one["actor_kind"]) == ("one", "two", "organization")
    assert await entries(operator, **{"actor": caller_id, "from": two["at"]}) == [two]
    assert await entries(operator, actor=caller_id, to=two["at"]) == [one]
    assert await entries(operator, actor=caller_id, action="project.delete") == []
    assert await entries(operator, organization="nobody") == []
    await operator.expect(204, "DELETE", f"/organizations/{organization}")
    assert (await entries(operator, organization=organization))[-1]["action"] == "organization.delete"
    assert len(await entries(operator, organization=organization)) == 5


@pytest.mark.parametrize(
    "query", ["from=yesterday", "from=2026-01-01T00:00:00", "to=0001-01-01T00:00:00%2B14:00", "to=1e30", "actor=%00", "limit=501"]
)
async def test_a_wrong_filter_is_refused(api: RunningApi, query: str) -> None:
    answer = await operator_of(api)("GET", f"/fleet/audit?{query}")
    assert answer.status_code in {400, 422}


@pytest.mark.parametrize("kind", ["project", "organization"])
async def test_the_audit_is_for_operators(api: RunningApi, kind: str) -> None:
    assert await operator_of(api).with_token(api.tokens[f"{kind}_token"]).code("GET", "/fleet/audit") == "scope_missing"


@pytest.mark.parametrize(
    ("forwarded", "shown"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("junk", None),
        ("203.0.113.7:4711", None),
        ("10.0.0.0/8", None),
    ],
)
async def test_what_a_proxy_wrote_is_kept_where_it_is_an_address(
    behind_a_proxy: RunningApi, forwarded: str, shown: str | None
) -> None:
    operator = operator_of(behind_a_proxy)
    organization = await new_organization(operator)
    await operator.expect(204, "DELETE", f"/organizations/{organization}", headers={"x-forwarded-for": forwarded})
    (entry,) = await entries(operator, action="organization.delete", organization=organization)
    assert entry["address"] == shown
