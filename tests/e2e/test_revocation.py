"""A revoked credential relays nothing more: real API, real agent, real coturn, and a client that allocates again and again.

coturn knows no single credential, so it admits a revoked one until it expires, and the agent ends each such allocation within
a few milliseconds, before its client can use it. A call is over when nothing more is relayed, however often the client comes back.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from tests.e2e.application import Application, server_of
from tests.e2e.restless import RestlessClient, restless
from tests.running_api import RunningApi, running_api, until

WITHIN_SECONDS = 5.0
_CALL_SECONDS = 1.0
_LOOK_ON_SECONDS = 2.0
_COMEBACKS = 3
"""So often it allocates again, at least, after the last packet."""
_MEASURED = 100
_BY = ("id", "room", "initiator", "receiver", "ids")


@pytest_asyncio.fixture(loop_scope="session")
async def application(stack: Stack) -> AsyncIterator[Application]:
    application = Application(stack)
    yield application
    await application.client.aclose()


@pytest_asyncio.fixture(loop_scope="session")
async def replica(stack: Stack, folder: Path) -> AsyncIterator[RunningApi]:
    """A second API, which no agent talks to."""
    async with running_api(stack.ready["database_url"], stack.ready["redis_url"], folder) as replica:
        yield replica


async def issue(application: Application, name: str, **fields: Any) -> httpx.Response:
    answer = await application.issue(
        fixed_region="eu-central", ttl=300, room=name, initiator_client=f"{name}-i", receiver_client=f"{name}-r", **fields
    )
    assert answer.status_code == 200, answer.text
    return answer


async def revoke(client: httpx.AsyncClient, token: str, by: str, name: str, credential_id: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    if by == "id":
        answer = await client.delete(f"/api/v1/credentials/{credential_id}", headers=headers)
    else:
        body = {
            "room": {"room": name},
            "initiator": {"client": f"{name}-i"},
            "receiver": {"client": f"{name}-r"},
            "ids": {"ids": [credential_id]},
        }[by]
        answer = await client.post("/api/v1/credentials/revoke", headers=headers, json=body)
    assert answer.status_code == 204, answer.text


async def over(client: RestlessClient, since: float, *, within_seconds: float) -> float:
    """Seconds from `since` to the last packet that is relayed for this client, which goes on and on allocating."""
    seen = {"last": 0.0, "allocations": 0}

    async def nothing_comes_through() -> bool:
        if client.last_packet_at != seen["last"]:
            seen.update(last=client.last_packet_at, allocations=client.allocations)
        silent = time.monotonic() - client.last_packet_at
        return silent > _LOOK_ON_SECONDS and client.allocations >= seen["allocations"] + _COMEBACKS

    try:
        await until(nothing_comes_through, within_seconds=within_seconds + _LOOK_ON_SECONDS + 1)
    except AssertionError:
        told = [(round(each.began - since, 2), round(each.last - since, 2)) for each in client.stretches[-40:]]
        raise AssertionError(f"the client is not cut off: it relayed, in seconds since the call, {told}") from None
    return max(0.0, client.last_packet_at - since)


async def relays_long_enough(client: RestlessClient) -> None:
    async def does() -> bool:
        return client.stretches[-1].last - client.stretches[-1].began > _CALL_SECONDS

    await until(does, within_seconds=10, what="the client has a call")


async def ended_after(application: Application, by: str, transport: str) -> float:
    name = uuid4().hex
    answer = await issue(application, name)
    async with restless(server_of(answer, transport)) as client:
        await relays_long_enough(client)
        called = time.monotonic()
        token = application.stack.ready["project_token"]
        await revoke(application.client, token, by, name, answer.headers["x-credential-id"])
        return await over(client, called, within_seconds=WITHIN_SECONDS)


@pytest.mark.parametrize(("by", "transport"), [("id", "udp"), ("room", "tcp"), ("receiver", "udp")])
async def test_a_call_ends_within_five_seconds(application: Application, by: str, transport: str) -> None:
    assert await ended_after(application, by, transport) <= WITHIN_SECONDS


async def test_only_the_revoked_call_ends(application: Application) -> None:
    name = uuid4().hex
    ended, kept = await issue(application, name), await issue(application, f"{name}-other")
    async with restless(server_of(ended, "udp")) as one, restless(server_of(kept, "udp")) as other:
        await relays_long_enough(one)
        await revoke(application.client, application.stack.ready["project_token"], "room", name, ended.headers["x-credential-id"])
        await over(one, time.monotonic(), within_seconds=WITHIN_SECONDS)
        again = await issue(application, name)
        async with restless(server_of(again, "udp")) as third:
            await relays_long_enough(third)
        await relays_long_enough(other)
        assert len(other.stretches) == 1


async def cut_off(application: Application, replica: RunningApi, *, seconds: float) -> float:
    """The agent's API answers nothing for so long, and the call is made at another one. Seconds from its return to the end."""
    name = uuid4().hex
    answer = await issue(application, name)
    (api_pid,) = application.stack.ready["pids"]["api"]
    async with restless(server_of(answer, "udp")) as client:
        await relays_long_enough(client)
        os.kill(api_pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds * 0.25)
            await revoke(replica.client, replica.tokens["project_token"], "room", name, answer.headers["x-credential-id"])
            await asyncio.sleep(seconds * 0.75)
            assert time.monotonic() - client.stretches[-1].last < 1, "nobody could have ended it"
        finally:
            os.kill(api_pid, signal.SIGCONT)
        back = time.monotonic()
        return await over(client, back, within_seconds=WITHIN_SECONDS)


async def test_an_agent_that_was_cut_off_ends_the_call_when_it_is_back(application: Application, replica: RunningApi) -> None:
    assert await cut_off(application, replica, seconds=8) <= WITHIN_SECONDS


@pytest.mark.full
async def test_an_agent_that_was_cut_off_for_40_seconds(application: Application, replica: RunningApi) -> None:
    took = [await cut_off(application, replica, seconds=40) for _ in range(3)]
    print(f"\nend after the agent was back, seconds: {sorted(round(each, 2) for each in took)}")
    assert max(took) <= WITHIN_SECONDS


@pytest.mark.full
async def test_a_hundred_calls_end_within_five_seconds(application: Application) -> None:
    """At random moments between two heartbeats, in every way there is, five at a time."""
    took: list[float] = []
    draws = random.Random(5)

    async def some(worker: int) -> None:
        for number in range(_MEASURED // 5):
            await asyncio.sleep(draws.random() * 2)
            took.append(await ended_after(application, _BY[(worker + number) % len(_BY)], ("udp", "tcp")[number % 2]))

    await asyncio.gather(*(some(worker) for worker in range(5)))
    took.sort()
    print(f"\n{len(took)} revocations, call to last packet: p50 {took[49]:.2f} s, p99 {took[98]:.2f} s, max {took[-1]:.2f} s")
    assert len(took) == _MEASURED
    assert took[98] <= WITHIN_SECONDS
