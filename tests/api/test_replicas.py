"""Two replicas: what one changes, the other follows within a second, and rotating a token fails nobody."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from deploy.local.redis_server import RedisServer
from tests.api.callers import Caller, new_organization, new_token, operator_of
from tests.issue_load import Answers, IssueConnection
from tests.running_api import RunningApi, running_api, until

_ROTATIONS = 20
_ANSWERS_BETWEEN = 30
_WITHIN_SECONDS = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other(api: RunningApi, module_database_url: str, module_redis: RedisServer) -> AsyncIterator[RunningApi]:
    """A second replica on the same stores, with a fleet in view."""
    folder = Path(tempfile.mkdtemp(prefix="turnfleet-api-"))
    async with running_api(module_database_url, module_redis.url, folder) as running:

        async def issues() -> bool:
            return (await running.issue()).status_code == 200

        await until(issues, what="the second replica issues")
        yield running
    shutil.rmtree(folder, ignore_errors=True)


async def seconds_until(condition: Callable[[], Awaitable[bool]], since: float) -> float:
    """From the moment when the change was answered to when it was seen."""
    await until(condition, within_seconds=5, what="the other replica follows")
    return time.monotonic() - since


@pytest.mark.parametrize("time_of_many", range(3))
async def test_a_change_is_seen_at_the_other_replica_within_a_second(api: RunningApi, other: RunningApi, time_of_many: int) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    here, token_id = await new_token(
        operator, "project", ["credentials:issue", "usage:read"], organization=organization, project="chat"
    )
    there = here.at(other)

    async def answered(code: str, **request: object) -> bool:
        answer = await there("POST", "/credentials/ice", **request)
        return bool(answer.json().get("code", "ok") == code)

    assert await answered("ok", json={"ttl": 100})  # a token that was made a moment ago works everywhere at once
    params = {"organization": organization}
    await operator.expect(200, "PATCH", "/projects/chat", params=params, json={"max_ttl_seconds": 50})
    took = [await seconds_until(lambda: answered("fields_invalid", json={"ttl": 100}), time.monotonic())]
    await operator.expect(200, "PATCH", f"/tokens/{token_id}", json={"scopes": ["usage:read"]})
    took.append(await seconds_until(lambda: answered("scope_missing"), time.monotonic()))
    await operator.expect(200, "PATCH", f"/tokens/{token_id}", json={"scopes": ["credentials:issue"]})
    took.append(await seconds_until(lambda: answered("ok"), time.monotonic()))
    await operator.expect(204, "DELETE", f"/tokens/{token_id}")
    took.append(await seconds_until(lambda: answered("token_invalid"), time.monotonic()))
    again, _ = await new_token(operator, "project", ["credentials:issue"], organization=organization, project="chat")
    there = again.at(other)
    assert await answered("ok")
    await operator.expect(204, "DELETE", "/projects/chat", params=params)
    took.append(await seconds_until(lambda: answered("token_invalid"), time.monotonic()))
    assert max(took) < _WITHIN_SECONDS, took


async def test_no_request_fails_through_twenty_rotations(api: RunningApi, other: RunningApi) -> None:
    """An application of eight workers at two replicas: some have the newest token, some still the one before."""
    operator = operator_of(api)
    organization = await new_organization(operator, "chat")
    first, token_id = await new_token(
        operator, "project", ["credentials:issue", "tokens:manage"], organization=organization, project="chat"
    )
    tokens, answers, done = [first.token], Answers(), asyncio.Event()
    answered_with: dict[str, set[str]] = {}
    draw = random.Random(20)

    async def work(replica: RunningApi) -> None:
        connections: dict[str, IssueConnection] = {}
        while not done.is_set():
            token = draw.choice(tokens[-2:])
            connection = connections.setdefault(token, IssueConnection(replica.url, token))
            if await connection.ask(answers):
                answered_with.setdefault(token, set()).add(replica.url)
        for connection in connections.values():
            connection.close()

    async def rotate(caller: Caller) -> tuple[Caller, str]:
        """Asks either replica; goes on when both have answered often, the newest token among it."""
        made = await caller.expect(201, "POST", f"/tokens/{token_id}/rotate", json={"overlap_seconds": 300})
        tokens.append(made["token"])
        already = len(answers.seconds)

        async def served() -> bool:
            return len(answered_with.get(tokens[-1], ())) == 2 and len(answers.seconds) >= already + _ANSWERS_BETWEEN

        await until(served, what="both replicas serve the newest token")
        return caller.with_token(made["token"]), made["id"]

    async with asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(work(other if number % 2 else api))
        caller = first
        try:
            for number in range(_ROTATIONS):
                caller, token_id = await rotate(caller.at(other if number % 2 else api))
        finally:
            done.set()
    assert answers.failures == []
    assert len(tokens) == _ROTATIONS + 1
    assert len(answers.seconds) >= _ROTATIONS * _ANSWERS_BETWEEN


async def test_many_changes_at_once_are_all_made(api: RunningApi, other: RunningApi) -> None:
    """They take one lock: none waits for another that waits for it."""
    operator = operator_of(api)
    organization = await new_organization(operator, "chat", "calls")

    async def change(number: int) -> None:
        replica = operator.at(other if number % 2 else api)
        params = {"organization": organization}
        slug = ("chat", "calls")[number % 2]
        _, token_id = await new_token(replica, "project", ["usage:read"], organization=organization, project=slug)
        await replica.expect(
            200, "PATCH", f"/projects/{slug}", params=params, json={"is_default": True, "max_ttl_seconds": 9 + number}
        )
        await replica.expect(201, "POST", f"/tokens/{token_id}/rotate")
        await replica.expect(204, "DELETE", f"/tokens/{token_id}")

    await asyncio.gather(*(change(number) for number in range(8)))
    projects = (await operator.expect(200, "GET", "/projects", params={"organization": organization}))["items"]
    assert sum(each["is_default"] for each in projects) == 1


async def test_changes_that_wait_for_each_other_keep_no_replica_from_following(api: RunningApi, module_database_url: str) -> None:
    operator = operator_of(api)
    organization = await new_organization(operator, "busy")
    connection = await asyncpg.connect(module_database_url)
    async with connection.transaction():
        await connection.execute("SELECT FROM directory_version FOR UPDATE")
        waiting = [
            asyncio.create_task(
                operator("POST", "/projects", json={"slug": f"p-{number}", "name": "P", "organization": organization})
            )
            for number in range(12)
        ]
        while not all(each.done() for each in waiting):
            assert (await api.client.get("/readyz")).json()["degraded"] == []
            await asyncio.sleep(0.05)
    await connection.close()


async def test_a_scope_that_was_taken_away_a_moment_ago_elsewhere_is_not_given_away(api: RunningApi, other: RunningApi) -> None:
    """A change asks the database who is asking, not the replica's memory."""
    operator = operator_of(api)
    scopes = ["tokens:manage", "usage:read"]
    caller, caller_id = await new_token(operator, "organization", scopes, organization="demo")
    for _ in range(3):
        made = {"kind": "project", "project": "demo", "name": "x", "scopes": ["usage:read"]}
        await caller.expect(201, "POST", "/tokens", json=made)
        await operator.at(other).expect(200, "PATCH", f"/tokens/{caller_id}", json={"scopes": ["tokens:manage"]})
        assert await caller.code("POST", "/tokens", json=made) == "scope_missing"
        await operator.expect(200, "PATCH", f"/tokens/{caller_id}", json={"scopes": scopes})


async def test_of_many_rotations_at_once_one_is_made(api: RunningApi, other: RunningApi) -> None:
    operator = operator_of(api)
    for _ in range(5):
        _, token_id = await new_token(operator, "project", ["usage:read"], organization="demo", project="demo")
        answers = await asyncio.gather(
            *(operator.at(replica)("POST", f"/tokens/{token_id}/rotate") for replica in (api, other) for _ in range(2))
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
