"""The disk of the journal is full, and then it is not."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg

from tests.running_api import SimulatedNode, running_api, until

_LEAVE_NOTHING = 4 * 1024 * 1024


def _fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (64 * 1024, 4096, 512, 1):
            for _ in range(_LEAVE_NOTHING // size):
                if os.write(descriptor, bytes(size)) < size:
                    break
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return filler


async def test_a_full_disk_answers_503_and_the_replica_becomes_ready_again_by_itself(
    small_disk: Path, database_url: str, redis_url: str, folder: Path
) -> None:
    async with running_api(database_url, redis_url, folder, TURNFLEET_STATE_DIR=str(small_disk / "state")) as api:
        await api.put_region("eu-central")
        node = SimulatedNode(api, "eu-1", "eu-central")
        await node.bring_up()
        node.keep_beating()
        before = await api.issue(json={"room": "before"})
        filler = _fill(small_disk)

        async def refused() -> bool:
            answer = await api.issue(json={"room": "r" * 100})
            if answer.status_code == 200:
                return False
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "journal_unavailable", "2")
            return True

        await until(refused, within_seconds=20, what="the journal finds the disk full")
        readiness = await api.client.get("/readyz")
        assert readiness.status_code == 503
        assert "No space left" in readiness.json()["reasons"][0]
        filler.unlink()

        async def ready() -> bool:
            return (await api.client.get("/readyz")).status_code == 200

        assert await until(ready, within_seconds=10, what="ready again, with no request in between") < 5
        after = await api.issue(json={"room": "after"})
        assert after.status_code == 200
        await node.stop_beating()
        connection = await asyncpg.connect(database_url)

        async def recorded() -> bool:
            rows = await connection.fetch("SELECT room FROM credentials WHERE room IN ('before', 'after')")
            return sorted(row["room"] for row in rows) == ["after", "before"]

        assert before.status_code == 200
        await until(recorded, within_seconds=5, what="both answered issues have their rows")
        await connection.close()
