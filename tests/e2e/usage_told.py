"""What coturn's own logs say was relayed, read here by other means than the agent's; and what the control plane counted."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

_BOOT = re.compile(r"turnfleet: boot (\S+)")
_NEW = re.compile(r"session (\d+): new, realm=<[^>]*>, username=<\d+:([0-9a-f]{8}-[0-9a-f-]{27})>")
_USAGE = re.compile(r"session (\d+): usage: .*, rp=\d+, rb=(\d+), sp=\d+, sb=(\d+)")
_LOOK_SECONDS = 0.02

Key = tuple[str, str]
"""coturn's boot and its number of the allocation."""


@dataclass(frozen=True, slots=True)
class Relayed:
    credential_id: UUID
    bytes_from_client: int
    bytes_to_client: int


class LogKeeper:
    """Holds on to every log file there ever was under a second name, so that a rotation takes nothing from the proof."""

    def __init__(self, log_file: Path, folder: Path) -> None:
        self._log_file = log_file
        self._folder = folder
        self._kept: dict[int, Path] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def look(self) -> None:
        files = [path for path in self._log_file.parent.iterdir() if path.name.startswith(self._log_file.name)]
        for path in sorted(files, key=lambda each: (each == self._log_file, each.name)):
            with suppress(FileNotFoundError):  # renamed in between: seen at the next look
                inode = path.stat().st_ino
                if inode not in self._kept:
                    kept = self._folder / f"{len(self._kept):06d}"
                    os.link(path, kept)
                    self._kept[kept.stat().st_ino] = kept

    def relayed(self) -> dict[Key, Relayed]:
        """Per allocation that began under a name of the control plane's. Older files first."""
        boot, owners = "", dict[Key, UUID]()
        totals: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
        for path in sorted(self._kept.values()):
            for line in path.read_text(errors="replace").splitlines():
                if found := _BOOT.search(line):
                    boot = found[1]
                elif found := _NEW.search(line):
                    owners[boot, found[1]] = UUID(found[2])
                elif found := _USAGE.search(line):
                    totals[boot, found[1]][0] += int(found[2])
                    totals[boot, found[1]][1] += int(found[3])
        return {key: Relayed(owner, *totals[key]) for key, owner in owners.items()}


@contextmanager
def watching(keepers: list[LogKeeper]) -> Iterator[None]:
    async def watch() -> None:
        while True:
            for keeper in keepers:
                keeper.look()
            await asyncio.sleep(_LOOK_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def relayed(keepers: list[LogKeeper]) -> dict[Key, Relayed]:
    return {key: each for keeper in keepers for key, each in keeper.relayed().items()}


async def differences(database_url: str, told: dict[Key, Relayed]) -> list[str]:
    """Where the control plane's rows and sums are not what coturn said; empty when all is equal."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT * FROM allocations")
        sums = await connection.fetch(
            "SELECT bucket, dimension, sum(credentials)::bigint AS credentials, sum(allocations)::bigint AS allocations,"
            " sum(bytes_from_client)::bigint AS up, sum(bytes_to_client)::bigint AS down FROM usage"
            " WHERE dimension IN ('project', 'region', 'node') GROUP BY 1, 2"
        )
        rooms = await connection.fetch(
            "SELECT a.key, a.up, a.down, b.up AS up_told, b.down AS down_told FROM"
            " (SELECT room AS key, sum(bytes_from_client)::bigint AS up, sum(bytes_to_client)::bigint AS down"
            "  FROM allocations WHERE room IS NOT NULL GROUP BY 1) AS b LEFT JOIN"
            " (SELECT key, bytes_from_client AS up, bytes_to_client AS down FROM subjects WHERE kind = 'room') AS a USING (key)"
        )
        credentials = await connection.fetchval("SELECT count(*) FROM credentials")
    finally:
        await connection.close()
    found = []
    counted: dict[Key, Relayed] = {}
    for row in rows:
        key = (row["coturn_boot_id"], row["session_id"])
        if key in counted:
            found.append(f"{key} has two rows")
        if row["matched"] != "matched":
            found.append(f"{key} is {row['matched']}")
        counted[key] = Relayed(row["credential_id"], row["bytes_from_client"], row["bytes_to_client"])
    found += [f"{key} is not stored" for key in told.keys() - counted.keys()]
    found += [f"{key} was never begun" for key in counted.keys() - told.keys()]
    found += [
        f"{key}: coturn said {told[key]}, stored is {counted[key]}"
        for key in told.keys() & counted.keys()
        if told[key] != counted[key]
    ]
    up, down = sum(each.bytes_from_client for each in told.values()), sum(each.bytes_to_client for each in told.values())
    for row in sums:
        if (row["allocations"], row["up"], row["down"]) != (len(told), up, down) or row["credentials"] != credentials:
            found.append(f"{dict(row)} is not {len(told)} allocations, {up} up, {down} down, {credentials} credentials")
    if len(sums) != 6:
        found.append(f"there are {len(sums)} kinds of sums")
    found += [f"{dict(row)}" for row in rooms if (row["up"], row["down"]) != (row["up_told"], row["down_told"])]
    return found
