"""POST /credentials/ice, on the wire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest

from controlplane.wire.token_format import make_token
from tests.running_api import RunningApi, SimulatedNode, until


def turn_server(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json()["iceServers"][-1])


async def test_the_shape_that_published_clients_need(api: RunningApi) -> None:
    before = time.time()
    answer = await api.issue()
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["iceServers", "expiresAt"]
    stun, turn = body["iceServers"]
    assert stun == {"urls": ["stun:127.0.0.1:3478"]}
    assert turn["urls"] == [
        "turn:127.0.0.1:3478?transport=udp",
        "turn:127.0.0.1:3478?transport=tcp",
        "turns:127.0.0.1:5349?transport=tcp",
    ]
    expiry, credential_id = turn["username"].split(":")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["expiresAt"])
    expires_at = datetime.fromisoformat(body["expiresAt"]).timestamp()
    assert before + 29.9 <= expires_at <= time.time() + 30
    assert int(expiry) == int(expires_at)
    assert answer.headers["x-credential-id"] == credential_id
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-turn-region"] in {"eu-central", "us-east"}
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-turn-node"])
    assert answer.headers["x-request-id"]


async def test_the_password_is_signed_with_the_secret_that_the_node_was_given(api: RunningApi) -> None:
    answer = await api.issue(json={"fixed_region": "eu-central"})
    turn = turn_server(answer)
    node_id = answer.headers["x-turn-node"]
    # RFC 5869 by hand, from the test's master key: the derivation must never change, or every relay must be told.
    extracted = hmac.new(bytes(32), bytes(range(32)), hashlib.sha256).digest()
    raw = hmac.new(extracted, f"turnfleet/node/{node_id}/1".encode() + b"\x01", hashlib.sha256).digest()
    secret = base64.urlsafe_b64encode(raw).rstrip(b"=")
    assert turn["credential"] == base64.b64encode(hmac.new(secret, turn["username"].encode(), hashlib.sha1).digest()).decode()


@pytest.mark.parametrize("path", ["/api/v1/credentials/ice", "/credentials/ice"])
@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"fixed_region": "us-east", "room": "r"}'),
        ("application/json", b' \n {"fixed_region": "us-east", "unknown": {"a": [1]}}'),
        ("application/json", b"fixed_region=us-east"),
        ("application/x-www-form-urlencoded", b"fixed_region=us-east&room=r"),
        ("application/x-www-form-urlencoded;charset=UTF-8", b'{"fixed_region": "us-east"}'),
        (None, b"fixed_region=us-east"),
        ("text/plain", b"fixed_region=us%2Deast"),
    ],
)
async def test_the_body_is_read_by_its_bytes(api: RunningApi, path: str, content_type: str | None, content: bytes) -> None:
    headers = api.bearer("project") | ({} if content_type is None else {"content-type": content_type})
    answer = await api.client.post(path, headers=headers, content=content)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-turn-region"], answer.headers["x-turn-selection"]) == ("us-east", "fixed")


@pytest.mark.parametrize("content", [b"", b"null", b"  ", b"{}", b"&&=", b"%%%"])
async def test_an_empty_body_means_no_fields(api: RunningApi, content: bytes) -> None:
    answer = await api.issue(content=content)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("request_", "region", "selection"),
    [
        ({"data": {"preferred_region": "us-east"}}, "us-east", "preferred"),
        ({"data": {"preffered_region": "us-east"}}, "us-east", "preferred"),
        ({"json": {"preffered_region": "us-east", "fixed_region": "eu-central"}}, "eu-central", "fixed"),
        ({"params": {"fixed_region": "us-east"}}, "us-east", "fixed"),
        ({"params": {"fixed_region": "us-east"}, "json": {"fixed_region": "eu-central"}}, "eu-central", "fixed"),
        ({"json": {"preferred_region": ["no", "slug"]}, "headers": {"x-turn-client-ip": "193.0.6.139"}}, "eu-central", "nearest"),
        ({"json": {"preferred_region": "atlantis"}, "headers": {"x-turn-client-ip": "193.0.6.139"}}, "eu-central", "nearest"),
        ({"headers": {"x-turn-client-ip": "8.8.8.8"}}, "us-east", "nearest"),
        ({"headers": {"x-turn-client-ip": "193.0.6.139, 8.8.8.8"}}, "eu-central", "nearest"),
        ({"headers": {"x-turn-client-ip": "2001:4860:4860::8888"}}, "us-east", "nearest"),
    ],
)
async def test_regions_are_chosen_by_hint_then_place(
    api: RunningApi, request_: dict[str, Any], region: str, selection: str
) -> None:
    answer = await api.issue(**request_)
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-turn-region"], answer.headers["x-turn-selection"]) == (region, selection)


@pytest.mark.parametrize("junk", ["", "nonsense", "10.0.0.1", "999.1.1.1", "a" * 300, ",,,", "127.0.0.1", "<script>"])
async def test_junk_as_client_address_is_never_an_error(api: RunningApi, junk: str) -> None:
    answer = await api.issue(headers={"x-turn-client-ip": junk})
    assert answer.status_code == 200
    assert answer.headers["x-turn-selection"] == "least-loaded"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"ttl": 0}, ["ttl"]),
        ({"ttl": -5}, ["ttl"]),
        ({"ttl": 86_401}, ["ttl"]),
        ({"ttl": 2**63}, ["ttl"]),
        ({"ttl": 1.5}, ["ttl"]),
        ({"ttl": True}, ["ttl"]),
        ({"ttl": "ten"}, ["ttl"]),
        ({"ttl": "\u0661\u0660"}, ["ttl"]),
        ({"ttl": "9" * 5000}, ["ttl"]),
        ({"ttl": [30]}, ["ttl"]),
        ({"room": "a b"}, ["room"]),
        ({"room": "r" * 101}, ["room"]),
        ({"room": "nul\x00"}, ["room"]),
        ({"room": "bidi\u202e"}, ["room"]),
        ({"room": "line\n"}, ["room"]),
        ({"initiator_client": {"deep": 1}, "receiver_client": "ä"}, ["initiator_client", "receiver_client"]),
        ({"fixed_region": 7}, ["fixed_region"]),
        ({"fixed_region": "x" * 64}, ["fixed_region"]),
    ],
)
async def test_a_wrong_field_is_named(api: RunningApi, fields: dict[str, Any], wrong: list[str]) -> None:
    answer = await api.issue(json=fields)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "fields_invalid"
    assert [error["field"] for error in problem["errors"]] == wrong
    assert problem["request_id"] == answer.headers["x-request-id"]
    page = await api.client.get(problem["type"])
    assert page.status_code == 200
    assert problem["title"].replace("'", "&#x27;") in page.text


@pytest.mark.parametrize(("ttl", "seconds"), [(60, 60), ("60", 60), (1, 1), (86_400, 86_400), (60.0, 60), (None, 30), ("", 30)])
async def test_ttl_is_a_number_or_digits(api: RunningApi, ttl: object, seconds: int) -> None:
    answer = await api.issue(json={"ttl": ttl})
    assert answer.status_code == 200, answer.text
    assert abs(int(turn_server(answer)["username"].split(":")[0]) - time.time() - seconds) < 3


async def test_unknown_fixed_region(api: RunningApi) -> None:
    answer = await api.issue(json={"fixed_region": "atlantis"})
    assert (answer.status_code, answer.json()["code"]) == (422, "region_unknown")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"room": }',
        b'{"room": "\xff\xfe"}',
        b'{"room": "a"} trailing',
        b'{"room": ' + b"[" * 7000 + b"]" * 7000 + b"}",
        b'{"unknown": ' + b'{"a":' * 2500 + b"1" + b"}" * 2500 + b"}",
        b'{"room": "\\ud800"}',
        b"&".join(b"f%d=1" % n for n in range(200)),
    ],
    ids=["cut", "no value", "not utf-8", "trailing", "deep list", "deep unknown", "lone surrogate", "many fields"],
)
async def test_a_malformed_body_is_a_400(api: RunningApi, content: bytes) -> None:
    answer = await api.issue(content=content)
    assert (answer.status_code, answer.json()["code"]) in {(400, "body_malformed"), (422, "fields_invalid")}, answer.text


async def test_multipart_is_refused_not_ignored(api: RunningApi) -> None:
    answer = await api.issue(files={"fixed_region": b"us-east"})
    assert (answer.status_code, answer.json()["code"]) == (400, "body_malformed")


async def test_a_body_over_16_kib_is_a_413(api: RunningApi) -> None:
    assert (await api.issue(content=b"a" * 16_384)).status_code == 200
    answer = await api.issue(content=b"a" * 16_385)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"])
async def test_other_methods_are_a_405_with_allow(api: RunningApi, method: str) -> None:
    answer = await api.client.request(method, "/api/v1/credentials/ice", headers=api.bearer("project"))
    assert answer.status_code in {405, 400} if method == "BREW" else answer.status_code == 405
    if answer.status_code == 405:
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Basic abc", "Bearer nonsense", "Bearer tfp_" + "0" * 50, "Bearer \xe4\xf6", "bearer\ttfp_"],
)
async def test_without_a_valid_token_it_is_a_401(api: RunningApi, authorization: str | None) -> None:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    answer = await api.client.post("/api/v1/credentials/ice", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_of_the_right_shape_that_nobody_made_is_a_401(api: RunningApi) -> None:
    made = make_token("project", b"x" * 32)[0].reveal()
    answer = await api.client.post("/api/v1/credentials/ice", headers={"authorization": f"Bearer {made}"})
    assert answer.status_code == 401


async def test_an_organization_token_acts_in_the_default_or_the_named_project(api: RunningApi) -> None:
    assert (await api.issue(token="organization")).status_code == 200
    assert (await api.issue(token="organization", headers={"x-project": "demo"})).status_code == 200
    assert (await api.issue(token="organization", params={"project": "demo"})).status_code == 200
    answer = await api.issue(token="organization", headers={"x-project": "other"})
    assert (answer.status_code, answer.json()["code"]) == (404, "project_unknown")


async def test_an_operator_names_organization_and_project(api: RunningApi) -> None:
    assert (await api.issue(token="operator", headers={"x-project": "demo/demo"})).status_code == 200
    answer = await api.issue(token="operator")
    assert (answer.status_code, answer.json()["code"]) == (422, "project_required")
    answer = await api.issue(token="operator", headers={"x-project": "demo/other"})
    assert answer.status_code == 404


async def test_explain_is_for_operators_and_tells_why(api: RunningApi) -> None:
    answer = await api.issue(
        token="operator", headers={"x-project": "demo/demo"}, params={"explain": "true"}, json={"preferred_region": "us-east"}
    )
    assert answer.status_code == 200
    selection = answer.json()["selection"]
    assert (selection["region"], selection["reason"]) == ("us-east", "preferred")
    assert selection["regions"][0]["outcome"] == "accepted"
    assert selection["nodes"][0]["node_id"] == answer.headers["x-turn-node"]
    assert (await api.issue(params={"explain": "true"})).status_code == 403


async def test_servers_2_of_a_region_with_one_node_is_one(api: RunningApi) -> None:
    answer = await api.issue(params={"servers": "2"})
    assert len(answer.json()["iceServers"]) == 2
    assert (await api.issue(params={"servers": "3"})).status_code == 422


async def test_servers_2_are_two_nodes_with_one_identity_and_a_password_each(api: RunningApi) -> None:
    second = SimulatedNode(api, "us-2", "us-east")
    await second.bring_up()
    answer = await api.issue(params={"servers": "2"}, json={"fixed_region": "us-east"})

    async def both_serve() -> bool:
        nonlocal answer
        answer = await api.issue(params={"servers": "2"}, json={"fixed_region": "us-east"})
        return len(answer.json()["iceServers"]) == 3

    await until(both_serve, within_seconds=3)
    one, two = answer.json()["iceServers"][1:]
    assert one["username"] == two["username"]
    assert one["credential"] != two["credential"]
    nodes = answer.headers["x-turn-node"].split(", ")
    assert len(set(nodes)) == 2
    # Asked in a body it is an unknown field, and those are ignored.
    assert len((await api.issue(json={"servers": 9})).json()["iceServers"]) == 2


async def test_every_issue_is_recorded_once_without_its_password(api: RunningApi) -> None:
    answers = await asyncio.gather(
        *(
            api.issue(
                json={"room": f"room-{n}", "initiator_client": "a", "receiver_client": "b"},
                headers={"x-turn-client-ip": "12.34.56.78"},
            )
            for n in range(50)
        )
    )
    ids = [answer.headers["x-credential-id"] for answer in answers]
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])

    async def recorded() -> bool:
        return bool(await connection.fetchval("SELECT count(*) = 50 FROM credentials WHERE id = ANY($1::uuid[])", ids))

    took = await until(recorded, what="all are recorded")
    assert took < 1.0
    row = await connection.fetchrow("SELECT *, host(client_address) AS address FROM credentials WHERE id = $1::uuid", ids[7])
    assert row is not None
    assert (row["room"], row["initiator_client"], row["receiver_client"], row["address"]) == ("room-7", "a", "b", "12.34.56.78")
    assert turn_server(answers[7])["credential"] not in str(dict(row))
    await connection.close()


async def test_nothing_secret_is_in_the_log(api: RunningApi) -> None:
    answer = await api.issue()
    log = api.log_file.read_text()
    for secret in (*api.tokens.values(), turn_server(answer)["credential"]):
        assert secret not in log


@pytest.mark.parametrize("hint", ["\x00", "a b", "Ä", "-x", "x" * 64, "UPPER"])
async def test_a_preferred_region_that_cannot_be_one_counts_as_absent_in_the_record_too(api: RunningApi, hint: str) -> None:
    answer = await api.issue(json={"preferred_region": hint})
    assert answer.status_code == 200
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])

    async def recorded() -> bool:
        row = await connection.fetchrow(
            "SELECT preferred_region FROM credentials WHERE id = $1::uuid", answer.headers["x-credential-id"]
        )
        return row is not None and row["preferred_region"] is None

    await until(recorded, within_seconds=3)
    await connection.close()
