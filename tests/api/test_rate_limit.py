"""Rate limits on the wire: one replica's answers, then three replicas under load with Redis coming and going."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from controlplane.api.limits import EXPOSED_HEADERS
from controlplane.redis_store.quotas import ReachedQuotas
from deploy.local.redis_server import RedisServer, private_redis
from tests.issue_load import Answers, closed_loop
from tests.running_api import RunningApi, SimulatedNode, running_api, until

LIMIT_HEADERS = [name.lower() for name in EXPOSED_HEADERS]


async def set_project(database_url: str, project: str, **values: object) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for column, value in values.items():
            await connection.execute(f"UPDATE projects SET {column} = $1 WHERE slug = $2", value, project)
    finally:
        await connection.close()


async def limited_to(api: RunningApi, limit: int, **headers: str) -> None:
    """Wait until the replica has read the project's new limit."""

    async def told() -> bool:
        answer = await api.issue(headers=headers)
        return answer.status_code == 200 and answer.headers["ratelimit-limit"] == str(limit)

    await until(told, what=f"a limit of {limit}")


@pytest.fixture
async def project_of_its_own(api: RunningApi, module_database_url: str) -> AsyncIterator[None]:
    yield
    await set_project(module_database_url, "demo", rate_limit_per_second=10_000, client_address_policy="keep")
    await limited_to(api, 10_000)


async def test_an_answer_says_where_the_project_stands(api: RunningApi) -> None:
    answer = await api.issue()
    assert answer.status_code == 200
    remaining = int(answer.headers["ratelimit-remaining"])
    assert 4_900 <= remaining <= 5_000  # at 10,000 a second a tenth of a millisecond makes the one good again
    assert answer.headers["ratelimit-limit"] == "10000"
    assert answer.headers["ratelimit-reset"] == "1"
    assert answer.headers["ratelimit"] == f'"project";r={remaining};t=1'
    assert answer.headers["ratelimit-policy"] == '"project";q=10000;w=1'


@pytest.mark.usefixtures("project_of_its_own")
async def test_a_refused_request_is_told_when_to_come_back_and_leaves_no_record(api: RunningApi, module_database_url: str) -> None:
    await set_project(module_database_url, "demo", rate_limit_per_second=2)
    await limited_to(api, 2)
    room = f"room-{time.monotonic_ns()}"
    began = time.monotonic()
    answers = [await api.issue(json={"room": room}) for _ in range(20)]
    seconds = time.monotonic() - began
    refused = [answer for answer in answers if answer.status_code == 429]
    passed = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) + len(passed) == 20
    assert len(refused) >= 1
    assert len(passed) <= 2 * (1 + seconds) + 1
    for answer in refused:
        assert answer.json()["code"] == "rate_limited"
        assert answer.headers.get_list("retry-after") == [answer.headers["ratelimit-reset"]]
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["ratelimit-remaining"] == "0"
        assert [name for name in LIMIT_HEADERS if len(answer.headers.get_list(name)) != 1] == []
    connection = await asyncpg.connect(module_database_url)

    async def recorded() -> bool:
        return int(await connection.fetchval("SELECT count(*) FROM credentials WHERE room = $1", room)) == len(passed)

    await until(recorded, what="a record for each that passed, and no other")
    await connection.close()
    metrics = (await api.client.get(api.metrics_url)).text
    assert f'turnfleet_rate_limited_total{{limit="project"}} {float(len(refused))}' in metrics


@pytest.mark.parametrize(("token", "status", "kind"), [("operator", 422, "token"), ("project", 422, "project")])
async def test_a_problem_after_the_token_was_known_says_it_too(api: RunningApi, token: str, status: int, kind: str) -> None:
    answer = await api.issue(token=token, json={"ttl": "no number"})
    assert answer.status_code == status, "no project was named, or a field is wrong"
    assert answer.headers["ratelimit"].startswith(f'"{kind}";')


async def test_a_stranger_is_told_nothing(api: RunningApi) -> None:
    for answer in (await api.client.post("/api/v1/credentials/ice"), await api.client.get("/api/v1/fleet/nodes")):
        assert answer.status_code == 401
        assert [name for name in LIMIT_HEADERS if name in answer.headers] == []


async def test_a_project_at_its_quota_gets_no_credentials(api: RunningApi, module_redis: RedisServer) -> None:
    connection = await asyncpg.connect(api.environment["TURNFLEET_DATABASE_URL"])
    project_id = await connection.fetchval("SELECT id FROM projects WHERE slug = 'demo'")
    quotas = ReachedQuotas.connect(module_redis.url)
    await quotas.put([project_id])
    room = f"room-{time.monotonic_ns()}"

    async def refused() -> bool:
        return (await api.issue()).status_code == 429

    await until(refused, what="the replica has read who is at a quota")
    answer = await api.issue(json={"room": room})
    assert answer.json()["code"] == "quota_reached"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["ratelimit"].startswith('"project";')
    await quotas.put([])

    async def recorded() -> bool:
        await api.issue(json={"room": room})
        return bool(await connection.fetchval("SELECT count(*) FROM credentials WHERE room = $1", room))

    await until(recorded, what="credentials are issued again")
    await quotas.close()
    await connection.close()


async def test_every_other_route_is_limited_by_token(module_database_url: str, folder: Path) -> None:
    async with (
        private_redis() as redis,
        running_api(module_database_url, redis.url, folder, TURNFLEET_TOKEN_REQUESTS_PER_SECOND="3") as api,
    ):
        answers = [await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("operator")) for _ in range(10)]
        assert [answer.status_code for answer in answers].count(200) in {1, 2}
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"token";q=3;w=1'}
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        forbidden = await api.client.get("/api/v1/fleet/nodes", headers=api.bearer("project"))
        assert forbidden.status_code == 403, "another token has its own limit"
        assert forbidden.headers["ratelimit-limit"] == "3"


@pytest.mark.usefixtures("project_of_its_own")
@pytest.mark.parametrize(("policy", "kept"), [("truncate", "193.0.6.0"), ("drop", None), ("keep", "193.0.6.139")])
async def test_addresses_are_cut_before_they_are_recorded_and_after_they_were_located(
    api: RunningApi, module_database_url: str, policy: str, kept: str | None
) -> None:
    await set_project(module_database_url, "demo", client_address_policy=policy, rate_limit_per_second=777)
    await limited_to(api, 777)
    answer = await api.issue(headers={"x-turn-client-ip": "193.0.6.139"})
    assert answer.headers["x-turn-region"] == "eu-central"
    assert answer.headers["x-turn-selection"] == "nearest"
    connection = await asyncpg.connect(module_database_url)
    query = "SELECT host(client_address) AS address FROM credentials WHERE id = $1::uuid"

    async def recorded() -> bool:
        row = await connection.fetchrow(query, answer.headers["x-credential-id"])
        return row is not None and row["address"] == kept

    await until(recorded, what=f"a record with the address {kept}")
    await connection.close()


async def window(seconds: float) -> tuple[float, float]:
    """Part of the load, to be counted in afterwards: (start, end)."""
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    return start, time.perf_counter()


def granted_per_second(loads: list[Answers], between: tuple[float, float]) -> float:
    start, end = between
    return sum(start <= at < end for load in loads for at in load.began) / (end - start)


async def test_three_replicas_share_a_limit_with_and_without_redis(database_url: str, folder: Path) -> None:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(private_redis())
        apis = []
        for name in ("a", "b", "c"):
            (folder / name).mkdir()
            apis.append(await stack.enter_async_context(running_api(database_url, redis.url, folder / name)))
        await apis[0].put_region("eu-central")
        node = SimulatedNode(apis[0], "eu-1", "eu-central")
        node.changes = {"capacity": {"bits_per_second": 1e13, "allocations": 100_000_000, "source": "stated"}}
        await node.bring_up()
        node.keep_beating()
        stack.push_async_callback(node.stop_beating)
        made = folder / "slow.json"
        await apis[0].command("admin", "bootstrap", "--organization", "demo", "--project", "slow", "--output", str(made))
        tokens = {200: apis[0].tokens["project_token"], 5: json.loads(made.read_text())["project_token"]}
        await set_project(database_url, "demo", rate_limit_per_second=200)
        await set_project(database_url, "slow", rate_limit_per_second=5)
        for api in apis:
            for limit, token in tokens.items():
                await limited_to(api, limit, authorization=f"Bearer {token}")

        ended = asyncio.Event()
        uneven = {200: (5, 2, 1), 5: (2, 1, 1)}
        async with asyncio.TaskGroup() as group:
            loads = {
                limit: [
                    group.create_task(closed_loop(api.url, token, until=lambda _: ended.is_set(), connections=connections))
                    for api, connections in zip(apis, uneven[limit], strict=True)
                ]
                for limit, token in tokens.items()
            }
            await window(1.0)
            shared = await window(10.0)
            await redis.kill()
            await window(1.0)
            alone = await window(4.0)
            await redis.start()
            await until(lambda: _shares_again(apis), what="every replica says that limits are shared again")
            await window(1.0)
            again = await window(4.0)
            ended.set()

    for limit, tasks in loads.items():
        answers = [task.result() for task in tasks]
        failures = Counter(failure for each in answers for failure in each.failures)
        assert set(failures) == {"HTTP/1.1 429 Too Many Requests"}
        assert granted_per_second(answers, shared) == pytest.approx(limit, rel=0.1), failures
        assert limit / 2 <= granted_per_second(answers, alone) <= limit * 2
        assert granted_per_second(answers, again) == pytest.approx(limit, rel=0.1, abs=0.5)
        assert max(each.percentile(0.99) for each in answers) < 1.0


async def _shares_again(apis: list[RunningApi]) -> bool:
    return all("rate_limits_shared_again" in api.log_file.read_text() for api in apis)
