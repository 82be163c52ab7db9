"""What a project used, as JSON pages and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from controlplane.api.csv_rows import csv_lines
from tests.running_api import RunningApi

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
COLUMNS = [
    "at", "bucket", "group_by", "key", "credentials", "allocations", "bytes_from_client", "bytes_to_client", "bytes_total",
    "minutes",
]  # fmt: skip


class Usage:
    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], project_id: UUID) -> None:
        self.connection = connection
        self.project_id = project_id

    async def put(self, dimension: str, key: str, at: datetime, *, bucket: str = "day", project_id: UUID | None = None) -> None:
        await self.connection.execute(
            "INSERT INTO usage VALUES ($1, $2, $3, $4, $5, 7, 3, 1000, 500, 90)",
            project_id or self.project_id, bucket, dimension, at, key,
        )  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def usage(api: RunningApi, module_database_url: str) -> AsyncIterator[Usage]:
    connection = await asyncpg.connect(module_database_url)
    await connection.execute("DELETE FROM usage")
    yield Usage(connection, await connection.fetchval("SELECT id FROM projects WHERE slug = 'demo'"))
    await connection.close()


async def ask(api: RunningApi, **query: str | int) -> Any:
    answer = await api.client.get("/api/v1/usage", headers=api.bearer("project"), params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def wrong_fields(api: RunningApi, **query: str) -> set[str]:
    answer = await api.client.get("/api/v1/usage", headers=api.bearer("project"), params=query)
    assert answer.status_code == 422, answer.text
    return {error["field"] for error in answer.json()["errors"]}


async def ask_csv(api: RunningApi, **query: Any) -> list[list[str]]:
    headers = api.bearer("project") | {"accept": "text/csv"}
    answer = await api.client.get("/api/v1/usage", headers=headers, params=query)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/csv")
    assert answer.text.endswith("\r\n")
    return list(csv.reader(io.StringIO(answer.text, newline="")))


async def test_the_project_as_a_whole_by_day_unless_asked_otherwise(api: RunningApi, usage: Usage) -> None:
    await usage.put("project", "", YESTERDAY)
    await usage.put("project", "", TODAY)
    await usage.put("project", "", TODAY, bucket="hour")
    await usage.put("project", "", TODAY, project_id=uuid4())
    found = await ask(api)
    assert found["next_cursor"] is None
    assert found["items"][1] == {
        "at": f"{TODAY:%Y-%m-%dT%H:%M:%SZ}", "bucket": "day", "group_by": "project", "key": "demo", "credentials": 7,
        "allocations": 3, "bytes_from_client": 1000, "bytes_to_client": 500, "bytes_total": 1500, "minutes": 1.5,
    }  # fmt: skip
    assert [item["at"][:10] for item in found["items"]] == [f"{YESTERDAY:%Y-%m-%d}", f"{TODAY:%Y-%m-%d}"]
    assert len((await ask(api, bucket="hour"))["items"]) == 1


async def test_a_filter_says_what_to_group_by(api: RunningApi, usage: Usage) -> None:
    node = str(uuid4())
    keys = {"room": "r1", "client": "a", "region": "eu-central", "node": node}
    for dimension, key in keys.items():
        await usage.put(dimension, key, TODAY)
        await usage.put(dimension, "another", TODAY)
    for dimension, key in keys.items():
        assert [item["key"] for item in (await ask(api, group_by=dimension))["items"]] == sorted([key, "another"])
        for found in (await ask(api, **{dimension: key}), await ask(api, group_by=dimension, **{dimension: key})):
            assert [(item["group_by"], item["key"]) for item in found["items"]] == [(dimension, key)]
    assert await wrong_fields(api, group_by="region", room="r1") == {"room"}
    assert await wrong_fields(api, room="r1", client="a") == {"room", "client"}


async def test_the_range_covers_every_bucket_that_it_touches(api: RunningApi, usage: Usage) -> None:
    for hour in range(4):
        await usage.put("project", "", YESTERDAY + timedelta(hours=hour), bucket="hour")
    await usage.put("project", "", YESTERDAY)
    span = {"from": (YESTERDAY + timedelta(minutes=90)).isoformat(), "to": (YESTERDAY + timedelta(hours=3)).isoformat()}
    assert [item["at"][11:13] for item in (await ask(api, bucket="hour", **span))["items"]] == ["01", "02"]
    assert len((await ask(api, **span))["items"]) == 1


async def test_pages_follow_in_the_order_of_time_and_key(api: RunningApi, usage: Usage) -> None:
    for at in (YESTERDAY, TODAY):
        for key in ("b", "a", "c"):
            await usage.put("room", key, at)
    found: list[str] = []
    cursor = ""
    while True:
        page = await ask(api, group_by="room", limit=2, cursor=cursor)
        found += [item["key"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert found == ["a", "b", "c", "a", "b", "c"]


async def test_csv_is_the_whole_range_and_no_cell_is_a_formula(api: RunningApi, usage: Usage) -> None:
    await usage.connection.execute(
        "INSERT INTO usage SELECT $1, 'hour', 'room', $2::timestamptz, 'r' || n, 1, 1, 2, 3, 60 FROM generate_series(1, 4100) AS n",
        usage.project_id, YESTERDAY,
    )  # fmt: skip
    await usage.put("room", "-1-1", TODAY, bucket="hour")
    rows = await ask_csv(api, group_by="room", bucket="hour", limit=1)
    assert rows[0] == COLUMNS
    assert len({row[3] for row in rows[1:]}) == len(rows) - 1 == 4101
    assert rows[-1] == [f"{TODAY:%Y-%m-%dT%H:%M:%SZ}", "hour", "room", "'-1-1", "7", "3", "1000", "500", "1500", "1.5"]
    assert len(await ask_csv(api, group_by="client")) == 1


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_what_a_spreadsheet_would_compute_is_made_text(cell: str) -> None:
    assert next(csv.reader(io.StringIO(csv_lines([[cell]]).decode(), newline=""))) == [f"'{cell}"]


def test_csv_is_quoted_as_the_standard_says() -> None:
    assert csv_lines([['say "hi"', "a,b", "two\nlines", -1, 0.5]]) == b'"say ""hi""","a,b","two\nlines",-1,0.5\r\n'


async def test_json_is_the_answer_to_whoever_takes_anything(api: RunningApi, usage: Usage) -> None:
    for accept, kind in (
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("text/csv;q=0.9, application/json;q=0.1", "text/csv"),
        ("text/csv;q=1e999", "application/json"),  # junk
    ):
        answer = await api.client.get("/api/v1/usage", headers=api.bearer("project") | {"accept": accept})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=minute", "group_by"), ("bucket=week", "bucket"), ("from=2026-11-22", "from"), ("limit=501", "limit"),
        ("from=2026-11-22T10:00:00Z&to=2026-11-21T10:00:00Z", "from"), ("to=12026-11-21T10:00:00Z", "to"), ("node=x", "node"),
        ("cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIlx1MDAwMCJd", "cursor"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(api: RunningApi, query: str, field: str) -> None:
    for accept in ("application/json", "text/csv"):
        answer = await api.client.get(f"/api/v1/usage?{query}", headers=api.bearer("project") | {"accept": accept})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
