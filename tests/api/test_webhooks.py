"""Webhooks over the API: made, changed, tried and removed; what is refused, and what nobody else sees."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from standardwebhooks import WebhookVerificationError

from deploy.local.redis_server import RedisServer
from tests.running_api import RunningApi, running_api
from tests.webhook_receiver import never, receiver, status

HOOKS = "/api/v1/webhooks"
EVERY = ["allocation.started", "allocation.ended"]
NOBODYS = "f05319be-f2f8-477f-aaaf-9b27c9007e51"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hooks(module_database_url: str, module_redis: RedisServer) -> AsyncIterator[RunningApi]:
    """An API whose webhooks may be sent to 127.0.0.1, and to no other address that is not public."""
    folder = Path(tempfile.mkdtemp(prefix="turnfleet-api-"))
    async with running_api(module_database_url, module_redis.url, folder, TURNFLEET_WEBHOOK_PRIVATE_TARGETS="127.0.0.1") as api:
        yield api
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def no_webhooks(module_database_url: str) -> None:
    connection = await asyncpg.connect(module_database_url)
    await connection.execute("DELETE FROM webhooks")
    await connection.close()


async def call(api: RunningApi, method: str, path: str = "", *, token: str = "organization", **request: Any) -> httpx.Response:
    return await api.client.request(method, HOOKS + path, headers=api.bearer(token), **request)


async def make(api: RunningApi, url: str = "http://127.0.0.1:1/", **fields: Any) -> dict[str, Any]:
    answer = await call(api, "POST", json={"url": url, "events": EVERY, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def rows(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def test_a_webhook_is_made_shown_changed_and_removed(hooks: RunningApi) -> None:
    made = await make(hooks, name="calls")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["is_active"]
    assert (await call(hooks, "GET", f"/{made['id']}")).json() == made
    assert (await call(hooks, "GET")).json() == {"items": [made], "next_cursor": None}
    changed = await call(hooks, "PATCH", f"/{made['id']}", json={"events": ["node.down", "node.down"], "name": ""})
    assert changed.json() == made | {"events": ["node.down"], "name": ""}
    off = (await call(hooks, "PATCH", f"/{made['id']}", json={"is_active": False})).json()
    assert (off["is_active"], off["inactive_because"]) == (False, "switched_off")
    on = (await call(hooks, "PATCH", f"/{made['id']}", json={"is_active": True})).json()
    assert (on["is_active"], on["inactive_because"]) == (True, None)
    assert (await call(hooks, "DELETE", f"/{made['id']}")).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await call(hooks, method, f"/{made['id']}")).status_code == 404


async def test_lists_go_on_after_a_cursor(hooks: RunningApi) -> None:
    ids = [(await make(hooks))["id"] for _ in range(3)]
    first = (await call(hooks, "GET", "?limit=2")).json()
    second = (await call(hooks, "GET", f"?limit=2&cursor={first['next_cursor']}")).json()
    assert [each["id"] for each in first["items"] + second["items"]] == ids
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    "url",
    [
        *("http://8.8.8.8/", "https://10.0.0.1/", "https://127.0.0.2/", "https://[::1]/", "https://169.254.169.254/latest/"),
        *("https://user:password@8.8.8.8/", "ftp://8.8.8.8/", "no url", "https://no-such-name.invalid/", "https://8.8.8.8:0/"),
        *("https://[::ffff:10.0.0.1]/", "https://167772161/", "https://a\x00b/", "https://x/\ufdd0"),
    ],
)
async def test_a_target_that_is_not_public_is_refused_with_a_sentence(hooks: RunningApi, url: str) -> None:
    answer = await call(hooks, "POST", json={"url": url, "events": EVERY})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == "url"
    made = await make(hooks)
    assert (await call(hooks, "PATCH", f"/{made['id']}", json={"url": url})).status_code == 422
    assert (await call(hooks, "GET", f"/{made['id']}")).json()["url"] == made["url"]


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"url": "https://8.8.8.8/"}, {"url": "https://8.8.8.8/", "events": []}, {"url": 5, "events": EVERY}, []),
        *({"url": "https://8.8.8.8/", "events": ["test"]}, {"url": "https://8.8.8.8/" + "x" * 2048, "events": EVERY}),
        *({"url": "https://8.8.8.8/", "events": EVERY, "name": "\x00"}, {"url": "https://8.8.8.8/", "events": EVERY * 50}),
    ],
)
async def test_a_wrong_field_is_named(hooks: RunningApi, body: Any) -> None:
    answer = await call(hooks, "POST", json=body)
    assert answer.status_code == 422, answer.text
    assert (await call(hooks, "GET")).json()["items"] == []


@pytest.mark.parametrize("path", ["/x", "/%00", f"/{NOBODYS}", f"/{NOBODYS}/deliveries"])
async def test_an_id_that_is_none_is_not_found(hooks: RunningApi, path: str) -> None:
    assert (await call(hooks, "GET", path)).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        *("?limit=0", "?limit=501", "?limit=x", "?limit=" + "9" * 30, "?cursor=x", "?state=done", "?cursor=WyIyMDI2Il0"),
        *(
            "?cursor=" + base64.urlsafe_b64encode(json.dumps([at, NOBODYS]).encode()).decode()
            for at in ("2026-11-22T05:49:09", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
        ),
    ],
)
async def test_a_wrong_parameter_is_named(hooks: RunningApi, query: str) -> None:
    made = await make(hooks)
    assert (await call(hooks, "GET", f"/{made['id']}/deliveries{query}")).status_code == 422


async def test_a_project_has_a_bounded_number_also_of_those_made_at_once(hooks: RunningApi) -> None:
    answers = await asyncio.gather(*(call(hooks, "POST", json={"url": "http://127.0.0.1:1/", "events": EVERY}) for _ in range(25)))
    assert sorted(answer.status_code for answer in answers) == [201] * 20 + [409] * 5
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert "at most 20" in refused.json()["detail"]


async def test_it_needs_its_scope_and_another_project_sees_nothing(hooks: RunningApi, module_database_url: str) -> None:
    made = await make(hooks)
    assert (await call(hooks, "GET", token="project")).status_code == 403
    assert (await hooks.client.get(HOOKS)).status_code == 401
    await rows(
        module_database_url,
        "INSERT INTO projects (id, organization_id, slug, name) SELECT gen_random_uuid(), id, 'other', 'other' FROM organizations"
        " WHERE slug = 'demo' ON CONFLICT DO NOTHING",
    )

    async def in_other(method: str, path: str = "", **request: Any) -> httpx.Response:
        headers = {**hooks.bearer("organization"), "X-Project": "other"}
        return await hooks.client.request(method, f"{HOOKS}{path}", headers=headers, **request)

    for _ in range(100):
        if (listed := await in_other("GET")).status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert listed.json()["items"] == []
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate-secret"), ("GET", "/deliveries")]:
        assert (await in_other(method, f"/{made['id']}{path}")).status_code == 404
    assert (await in_other("PATCH", f"/{made['id']}", json={"url": "http://127.0.0.1:2/"})).status_code == 404
    assert (await call(hooks, "GET", f"/{made['id']}")).json()["url"] == made["url"]


async def test_the_test_call_sends_a_signed_event_and_tells_what_came_of_it(hooks: RunningApi) -> None:
    async with receiver() as server:
        made = await make(hooks, server.url)
        outcome = (await call(hooks, "POST", f"/{made['id']}/test")).json()
        assert (outcome["delivered"], outcome["status"], outcome["failure"]) == (True, 204, None)
        assert 0 < outcome["milliseconds"] < 5000
        received = server.requests[0]
        assert received.target == "/hook?x=1"
        assert received.headers["content-type"] == "application/json"
        payload = received.verified(made["secret"])
        assert (payload["type"], payload["data"]) == ("test", {"webhook_id": made["id"]})
        with pytest.raises(WebhookVerificationError):
            received.verified("whsec_" + "A" * 43 + "=")
        server.answer = status(500)
        outcome = (await call(hooks, "POST", f"/{made['id']}/test")).json()
        assert (outcome["delivered"], outcome["failure"]) == (False, "The target answered 500.")


async def test_a_test_of_a_target_that_is_silent_ends_and_few_run_at_once(hooks: RunningApi) -> None:
    async with receiver(never) as server:
        made = await make(hooks, server.url)
        answers = await asyncio.gather(
            *(hooks.client.post(f"{HOOKS}/{made['id']}/test", headers=hooks.bearer("organization"), timeout=15) for _ in range(4))
        )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    outcome = next(answer.json() for answer in answers if answer.status_code == 200)
    assert outcome["failure"] == "No answer within 10 seconds."
    assert 9_000 < outcome["milliseconds"] < 12_000


async def test_after_a_rotation_both_secrets_verify(hooks: RunningApi) -> None:
    async with receiver() as server:
        made = await make(hooks, server.url)
        rotated = (await call(hooks, "POST", f"/{made['id']}/rotate-secret")).json()
        assert rotated["secret"] != made["secret"]
        await call(hooks, "POST", f"/{made['id']}/test")
        for secret in (made["secret"], rotated["secret"]):
            server.requests[0].verified(secret)


async def test_secrets_are_sealed_and_every_change_is_audited_without_them(hooks: RunningApi, module_database_url: str) -> None:
    made = await make(hooks, "http://127.0.0.1:1/path?key=hidden")
    await call(hooks, "PATCH", f"/{made['id']}", json={"name": "other"})
    await call(hooks, "PATCH", f"/{made['id']}", json={"name": "other"})
    rotated = (await call(hooks, "POST", f"/{made['id']}/rotate-secret")).json()
    stored = repr(await rows(module_database_url, "SELECT * FROM webhooks"))
    await call(hooks, "DELETE", f"/{made['id']}")
    audit = await rows(module_database_url, f"SELECT * FROM audit WHERE object = '{made['id']}' ORDER BY id")
    assert [row["action"] for row in audit] == ["webhook.create", "webhook.patch", "webhook.rotate_secret", "webhook.delete"]
    for secret in (made["secret"], rotated["secret"]):
        assert secret.removeprefix("whsec_")[:20] not in stored
        assert secret not in repr(audit) + hooks.log_file.read_text()
    assert "hidden" not in repr(audit)
    assert "http://127.0.0.1:1/path" in repr(audit)
