"""Fleet events live: nothing lost, nothing twice, soon, and an end for everybody."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from controlplane.flows.follow_events import MAX_BEHIND, MAX_STREAMS
from deploy.local.redis_server import private_redis
from tests.api.callers import new_token, operator_of
from tests.event_log import STREAM, Block, connected, listening, write
from tests.running_api import RunningApi, running_api, until

_TOKEN_SECONDS = 15.0
"""Far below a stream's life; what it takes is a second for the change and two until the stream looks."""


@pytest_asyncio.fixture(loop_scope="session")
async def database(module_database_url: str) -> AsyncIterator[Any]:
    async with connected(module_database_url) as connection:
        yield connection


async def newest(database: Any) -> int:
    return int(await database.fetchval("SELECT coalesce(max(id), 0) FROM fleet_events"))


def reload_of(blocks: list[Block]) -> str:
    """The reason, when the last block says reload."""
    assert blocks[-1].event == "reload", blocks
    return str(blocks[-1].view["reason"])


async def test_events_come_as_they_happen_with_postgresql_s_ids(api: RunningApi, database: Any) -> None:
    async with listening(api) as reader:
        assert reader.response.headers["content-type"] == "text/event-stream"
        assert reader.response.headers["cache-control"] == "no-store"
        first = await anext(reader.read())
        assert (first.retry, first.id, first.data) == (1000, await newest(database), "")
        written = await write(database, 3, detail="line\nline \u2028 \U0001f4a9")
        assert await reader.ids(3) == written
        view = reader.blocks[-1].view
        assert (view["id"], view["detail"], view["was"], view["became"]) == (
            written[-1],
            "line\nline \u2028 \U0001f4a9",
            "up",
            "down",
        )
    page = await operator_of(api).expect(200, "GET", "/fleet/events", params={"limit": 1})
    assert page["items"] == [view]


async def test_an_event_is_there_within_a_second(api: RunningApi, database: Any) -> None:
    took = []
    async with listening(api) as reader:
        await anext(reader.read())
        for _ in range(40):
            await asyncio.sleep(random.random() * 0.2)
            written_at = time.monotonic()
            await write(database)
            await reader.ids(1)
            took.append(time.monotonic() - written_at)
    p95 = sorted(took)[int(len(took) * 0.95)]
    print(f"from insert to stream: p50 {sorted(took)[20] * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms, most {max(took) * 1e3:.0f} ms")
    assert p95 <= 1.0, sorted(took)


async def test_only_what_is_wanted_comes_and_the_rest_still_moves_the_place(api: RunningApi, database: Any) -> None:
    node_id = (await api.node("eu-1"))["node_id"]
    for query in ({"node": "eu-1"}, {"node": node_id}, {"kind": "node.other"}, {"region": "elsewhere"}):
        async with listening(api, **query) as reader:
            await anext(reader.read())
            await write(database, kind="a.b", region="nowhere")
            (wanted,) = await write(database, kind="node.other", region="elsewhere", node_id=node_id)
            await write(database, kind="a.b", region="nowhere")
            (again,) = await write(database, kind="node.other", region="elsewhere", node_id=node_id)
            assert await reader.ids(2) == [wanted, again], query
            assert reader.blocks[-1].view["node"] == "eu-1"


async def test_nothing_is_lost_or_doubled_while_transactions_overlap_and_the_client_comes_and_goes(
    api: RunningApi, database: Any, module_database_url: str
) -> None:
    """Several writers, whose transactions stay open for a while or are taken back, and two replicas' worth of reconnects."""
    begin, writing = await newest(database), True

    async def writer(seed: int) -> None:
        dice = random.Random(seed)
        async with connected(module_database_url) as connection:
            for number in range(10):
                transaction = connection.transaction()
                await transaction.start()
                await write(connection, dice.randint(1, 9))
                await asyncio.sleep(0.7 if number == seed else dice.random() * 0.05)
                await (transaction.rollback() if number % 4 == 3 else transaction.commit())

    async def reader() -> list[int]:
        dice, found, after = random.Random(5), [], begin
        while True:
            async with listening(api, after=after) as stream:
                stop_after = dice.randint(1, 25)
                async with asyncio.timeout(20):
                    async for block in stream.read():
                        assert block.event != "reload"
                        after = block.id if block.id is not None else after
                        if block.data:
                            found.append(after)
                            stop_after -= 1
                        if stop_after == 0 or (not writing and after >= await newest(database)):
                            break
            if not writing and after >= await newest(database):
                return found

    reading = asyncio.create_task(reader())
    await asyncio.gather(*(writer(seed) for seed in range(6)))
    writing = False
    await write(database)  # so that the reader sees that it has all
    found = await reading
    rows = await database.fetch("SELECT id FROM fleet_events WHERE id > $1 ORDER BY id", begin)
    assert len(rows) >= 200
    assert found == [row["id"] for row in rows]


async def test_who_cannot_be_told_everything_is_told_to_reload(api: RunningApi, database: Any) -> None:
    here = (await write(database))[0]
    async with listening(api, after=here + 1000) as reader:
        assert reload_of(await reader.until_end()) == "unknown_id"
        assert reader.blocks[-1].id == here
    last = (await write(database, MAX_BEHIND))[-1]
    async with listening(api, after=here) as reader:
        assert (await reader.ids(MAX_BEHIND))[-1] == last
    last = (await write(database))[0]
    async with listening(api, after=here) as reader:
        blocks = await reader.until_end()
        assert (reload_of(blocks), len(blocks), blocks[-1].id, blocks[-1].retry) == ("too_far_behind", 1, last, 1000)
    await database.execute("UPDATE fleet_events_forgotten SET up_to_id = $1", last)
    try:
        async with listening(api, after=last - 1) as reader:
            assert reload_of(await reader.until_end()) == "too_old"
        async with listening(api, after=last) as reader:
            written = await write(database)
            assert await reader.ids(1) == written
    finally:
        await database.execute("UPDATE fleet_events_forgotten SET up_to_id = 0")


@pytest.mark.parametrize("after", ["-1", "1.5", "x", "9" * 19, "9" * 4000, "\u0663".encode(), b"\xff\xfe", "1 2"])
async def test_a_last_event_id_that_is_none_is_refused(api: RunningApi, after: str | bytes) -> None:
    headers: list[tuple[str, Any]] = [*api.bearer("operator").items(), ("last-event-id", after)]
    answer = await api.client.get(STREAM, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")


async def test_an_empty_one_is_none(api: RunningApi, database: Any) -> None:
    async with listening(api, after="") as reader:
        assert (await anext(reader.read())).id == await newest(database)


async def test_a_token_that_was_deleted_ends_with_the_stream(api: RunningApi) -> None:
    operator = operator_of(api)
    caller, token_id = await new_token(operator, "operator", ["fleet:read"])
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        async with client.stream("GET", STREAM, headers={"authorization": f"Bearer {caller.token}"}) as response:
            assert response.status_code == 200
            await operator.expect(204, "DELETE", f"/tokens/{token_id}")
            async with asyncio.timeout(_TOKEN_SECONDS):
                await response.aread()
        assert await caller.code("GET", "/fleet/events/stream") == "token_invalid"


@pytest.mark.parametrize("change", ["scopes = ARRAY['fleet:operate']", "expires_at = now() - interval '1 second'"])
async def test_a_token_that_may_no_longer_read_ends_with_the_stream(api: RunningApi, database: Any, change: str) -> None:
    caller, token_id = await new_token(operator_of(api), "operator", ["fleet:read"])
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as client:
        async with client.stream("GET", STREAM, headers={"authorization": f"Bearer {caller.token}"}) as response:
            await database.execute(f"UPDATE tokens SET {change} WHERE id = $1", token_id)
            async with asyncio.timeout(_TOKEN_SECONDS):
                await response.aread()
        assert await caller.code("GET", "/fleet/events/stream") in {"scope_missing", "token_invalid"}


async def test_a_replica_bounds_its_streams_and_notices_who_left(behind_a_proxy: RunningApi) -> None:
    api = behind_a_proxy

    async def streams() -> int:
        text = (await api.client.get(api.metrics_url)).text
        return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("turnfleet_event_streams "))))

    request = f"GET {STREAM} HTTP/1.1\r\nhost: x\r\nauthorization: {api.bearer('operator')['authorization']}\r\n\r\n".encode()
    port = int(api.url.rpartition(":")[2])
    writers = []
    try:
        for _ in range(MAX_STREAMS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(request)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await streams() == MAX_STREAMS
        answer = await api.client.get(STREAM, headers=api.bearer("operator"))
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "streams_exhausted", "5")
    finally:
        for writer in writers:
            writer.close()

    async def all_gone() -> bool:
        return await streams() == 0

    await until(all_gone, within_seconds=5, what="the streams of clients that left are closed")


async def test_a_reader_that_is_too_slow_is_told_to_reload(api: RunningApi, database: Any) -> None:
    """It stops reading while far more happens than buffers hold; the API neither keeps it all nor cuts it off at once."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", int(api.url.rpartition(":")[2])))
        head = f"GET {STREAM} HTTP/1.1\r\nhost: x\r\nauthorization: {api.bearer('operator')['authorization']}\r\n\r\n"
        await loop.sock_sendall(raw, head.encode())
        read = await loop.sock_recv(raw, 65536)
        async with listening(api) as quick:
            await anext(quick.read())
            for _ in range(6):
                assert len(await quick_ids(quick, await write(database, 1500, detail="x" * 2000))) == 1500
        async with asyncio.timeout(20):
            while not read.endswith(b"0\r\n\r\n"):
                more = await loop.sock_recv(raw, 1 << 20)
                assert more, "it was cut off"
                read += more
    end = read[-1000:].decode()
    assert "event: reload\n" in end
    assert '"reason":"too_slow"' in end
    assert read.count(b'"detail"') < 9000


async def quick_ids(reader: Any, written: list[int]) -> list[int]:
    found = await reader.ids(len(written))
    assert found == written
    return list(found)


async def test_redis_may_be_restarted_meanwhile(database_url: str, folder: Path) -> None:
    async with (
        private_redis() as redis,
        running_api(database_url, redis.url, folder) as api,
        connected(database_url) as database,
        listening(api) as reader,
    ):
        await anext(reader.read())
        for step in (redis.kill, redis.start, None):
            written = await write(database, 2)
            assert await reader.ids(2) == written
            if step is not None:
                await step()


async def test_a_process_that_stops_ends_its_streams_first(database_url: str, redis_url: str, folder: Path) -> None:
    async with running_api(database_url, redis_url, folder) as api, connected(database_url) as database:
        async with listening(api) as reader, listening(api) as other:
            await anext(reader.read())
            await anext(other.read())
            written = await write(database, 2)
            assert await reader.ids(2) == written
            began = time.monotonic()
            assert await api.stop() == 0
            took = time.monotonic() - began
            blocks = await reader.until_end()  # raises when the end is not clean
            await other.until_end()
        assert (blocks[-1].retry, blocks[-1].id, blocks[-1].data) == (1000, written[-1], "")
        print(f"stopped within {took:.2f} s")
        assert took < 5, took
        assert "Exception" not in api.log_file.read_text()


async def test_a_reader_that_reads_nothing_does_not_hold_a_process_that_stops(
    database_url: str, redis_url: str, folder: Path
) -> None:
    async with running_api(database_url, redis_url, folder) as api, connected(database_url) as database:
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
            raw.sendall(
                f"GET {STREAM} HTTP/1.1\r\nhost: x\r\nauthorization: {api.bearer('operator')['authorization']}\r\n\r\n".encode()
            )
            async with listening(api) as quick:
                await anext(quick.read())
                for _ in range(6):
                    await quick_ids(quick, await write(database, 1500, detail="x" * 2000))
            began = time.monotonic()
            assert await api.stop() == 0
            took = time.monotonic() - began
            print(f"stopped within {took:.2f} s")
            assert took < 8, took
