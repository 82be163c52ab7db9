"""What a process begins with while Redis is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from controlplane.fleet.model import Health, HealthReason
from controlplane.fleet.policy import Policy
from controlplane.flows.fleet_keeper import FleetKeeper
from controlplane.flows.view_file import ViewFile
from controlplane.redis_store.live_state import LiveState
from tests.builders import make_node, make_record, make_region

NODES = [make_node("node-1"), make_node("node-2")]
NOWHERE = "redis://127.0.0.1:1"


@asynccontextmanager
async def keeper_on(url: str) -> AsyncIterator[FleetKeeper]:
    live = LiveState.connect(url)
    keeper = FleetKeeper(live, Policy())
    keeper.view.set_directory([make_region()], NODES)
    yield keeper
    await live.close()


async def written(redis_url: str, folder: Path) -> Path:
    """By a replica that knows one of two nodes."""
    async with keeper_on(redis_url) as keeper:
        keeper.heard("node-1", make_record(proved_at=datetime.now(UTC)), news=False)
        await ViewFile(folder / "state" / "fleet-view", keeper).write()
    return folder / "state" / "fleet-view"


async def test_a_process_that_starts_without_redis_issues_from_the_last_view(redis_url: str, folder: Path) -> None:
    path = await written(redis_url, folder)
    async with keeper_on(NOWHERE) as keeper:
        assert not await keeper.read_once()
        ViewFile(path, keeper).load_if_blind()
        keeper.rebuild()
        assert keeper.knows_the_fleet
        assert not keeper.seeing
        assert keeper.view.table.held
        assert [each.node_id for each in keeper.view.table.regions["eu-central"].contenders] == ["node-1"]


async def test_silence_is_held_from_when_the_view_was_good(redis_url: str, folder: Path) -> None:
    path = await written(redis_url, folder)
    async with keeper_on(NOWHERE) as keeper:
        ViewFile(path, keeper).load_if_blind()
        since = keeper.view.silence.blind_since
        assert since is not None
        late = keeper.view.state(NODES[0], now=since + 599)
        assert (late.verdict.health, late.verdict.reason) == (Health.SUSPECT, HealthReason.HELD)
        assert keeper.view.state(NODES[0], now=since + 601 + 300).verdict.health is Health.DOWN


async def test_with_redis_the_file_is_not_looked_at(redis_url: str, folder: Path) -> None:
    path = await written(redis_url, folder)
    path.write_bytes(b"junk")
    async with keeper_on(redis_url) as keeper:
        await keeper.read_once()
        ViewFile(path, keeper).load_if_blind()
        assert keeper.view.silence.blind_since is None


@pytest.mark.parametrize("damage", ["missing", "junk", "old", "of the future"])
async def test_a_file_that_says_nothing_leaves_the_process_not_ready(redis_url: str, folder: Path, damage: str) -> None:
    path = await written(redis_url, folder)
    if damage == "missing":
        path.unlink()
    elif damage == "junk":
        path.write_bytes(b"\xc1")
    else:
        stored = msgspec.msgpack.decode(path.read_bytes())
        stored["written_at"] += -601 if damage == "old" else 60
        path.write_bytes(msgspec.msgpack.encode(stored))
    async with keeper_on(NOWHERE) as keeper:
        ViewFile(path, keeper).load_if_blind()
        assert not keeper.knows_the_fleet
