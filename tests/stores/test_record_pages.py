"""A search through many records for few ends in time, and goes on where it ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from controlplane.postgres_store import records
from controlplane.postgres_store.records import TimeRange, allocations_page, credentials_page, records_database

_PROJECT = UUID(int=1)
_BUSY, _RARE = UUID(int=2), UUID(int=3)


async def _write(database_url: str, *, count: int, rare: set[int]) -> None:
    now = datetime.now(UTC)
    connection = await asyncpg.connect(database_url)
    try:
        for number in range(count):
            at, node = now - timedelta(minutes=number), _RARE if number in rare else _BUSY
            await connection.execute(
                "INSERT INTO credentials (issued_at, id, project_id, token_id, expires_at, region, node_ids, secret_versions,"
                " selection, degraded, room) VALUES ($1, $2, $3, 't', $1, 'eu', $4, '{1}', 'nearest', false, 'large')",
                *(at, uuid7(), _PROJECT, [node]),
            )
            await connection.execute(
                "INSERT INTO allocations (started_at, id, node_id, region, coturn_boot_id, session_id, project_id, room, revision,"
                " matched, ended_at) VALUES ($1, $2, $3, 'eu', 'b', $4, $5, 'large', 1, 'matched', $6)",
                *(at, uuid7(), node, str(number), _PROJECT, None if number in rare else at),
            )
    finally:
        await connection.close()


@pytest.mark.parametrize("limit", [2, 6])
async def test_a_search_ends_in_time_and_finds_all(database_url: str, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(records, "_LOOKED_AT", 10)
    await _write(database_url, count=45, rare={3, 17, 18, 19, 44})
    database = records_database(database_url)
    times = TimeRange(from_at=datetime.now(UTC) - timedelta(days=40), to_at=datetime.now(UTC) + timedelta(hours=1))
    try:
        found: list[datetime] = []
        before: tuple[datetime, UUID] | None = None
        pages = 0
        while True:
            page = await credentials_page(database, _PROJECT, times, limit=limit, before=before, room="large", node_id=_RARE)
            found += [each.issued_at for each in page.records]
            pages += 1
            full = page.records[-1] if len(page.records) == limit else None
            before = (full.issued_at, full.id) if full is not None else page.resume
            if before is None:
                break
        assert len(found) == 5
        assert found == sorted(found, reverse=True)
        assert pages >= 4
        page_of_live = await allocations_page(database, _PROJECT, times, limit=6, room="large", live=True)
        assert len(page_of_live.records) == 1
        assert page_of_live.resume is not None
    finally:
        await database.close()


async def test_one_filter_alone_ends_only_at_the_end(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LOOKED_AT", 10)
    await _write(database_url, count=25, rare={20})
    database = records_database(database_url)
    times = TimeRange(from_at=datetime.now(UTC) - timedelta(days=40), to_at=datetime.now(UTC) + timedelta(hours=1))
    try:
        page = await credentials_page(database, _PROJECT, times, limit=100, node_id=_RARE)
        assert len(page.records) == 1
        assert page.resume is None
        assert len((await credentials_page(database, _PROJECT, times, limit=100)).records) == 25
        assert len((await allocations_page(database, _PROJECT, times, limit=100, live=True)).records) == 1
        assert (await credentials_page(database, UUID(int=9), times, limit=100, room="large", node_id=_RARE)).records == []
    finally:
        await database.close()
