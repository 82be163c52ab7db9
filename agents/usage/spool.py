"""What the agent knows of use, on disk: STATE_DIR/usage.db. Sums and the place in the log that they reach to change together.

So a death of the agent at any moment costs nothing: it reads on where its sums end. Blocking calls, for the disk's thread.
Every call raises sqlite3.Error for what passes by itself (a full disk).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents.usage.book import LATE_SECONDS, Allocation, Boot
from agents.usage.denials import Denied
from agents.usage.meter import Meter
from agents.usage.tail import Position
from agents.usage.username import credential
from controlplane.wire.agent_api import AllocationReport, CredentialRule

KEPT_SECONDS = 60.0
"""After an ended allocation was acknowledged."""
MOST_WAITING = 500_000
"""Allocations that nobody acknowledges: some 150 MB. Beyond it the oldest that ended make room."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS allocation (
  boot_id TEXT NOT NULL, session_id TEXT NOT NULL, started_at REAL NOT NULL, username TEXT NOT NULL,
  client_address TEXT, transport TEXT,
  bytes_from_client INTEGER NOT NULL, bytes_to_client INTEGER NOT NULL,
  packets_from_client INTEGER NOT NULL, packets_to_client INTEGER NOT NULL,
  bits_per_second REAL NOT NULL, released INTEGER NOT NULL, cut TEXT, ended_at REAL, end_reason TEXT,
  revision INTEGER NOT NULL, acknowledged INTEGER NOT NULL DEFAULT 0, acknowledged_at REAL,
  PRIMARY KEY (boot_id, session_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS allocation_waiting ON allocation (started_at) WHERE revision > acknowledged;
CREATE INDEX IF NOT EXISTS allocation_ended ON allocation (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS reading (
  one INTEGER PRIMARY KEY CHECK (one = 1), inode INTEGER, offset INTEGER, head_bytes INTEGER, head TEXT,
  boot_id TEXT, begun INTEGER);
CREATE TABLE IF NOT EXISTS denied_up_to (one INTEGER PRIMARY KEY CHECK (one = 1), up_to INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS denial (credential_id TEXT PRIMARY KEY, expires_at REAL NOT NULL, told_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rule (
  credential_id TEXT PRIMARY KEY, end_at_expiry INTEGER NOT NULL, max_allocations INTEGER,
  max_bits_per_second INTEGER) WITHOUT ROWID;
"""
_SAVE = """
INSERT INTO allocation (boot_id, session_id, started_at, username, client_address, transport, bytes_from_client,
  bytes_to_client, packets_from_client, packets_to_client, bits_per_second, released, cut, ended_at, end_reason, revision)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (boot_id, session_id) DO UPDATE SET client_address = excluded.client_address, transport = excluded.transport,
  bytes_from_client = excluded.bytes_from_client, bytes_to_client = excluded.bytes_to_client,
  packets_from_client = excluded.packets_from_client, packets_to_client = excluded.packets_to_client,
  bits_per_second = excluded.bits_per_second, released = excluded.released, cut = excluded.cut,
  ended_at = excluded.ended_at, end_reason = excluded.end_reason, revision = excluded.revision
"""
_COLUMNS = """boot_id, session_id, started_at, username, client_address, transport, bytes_from_client, bytes_to_client,
  packets_from_client, packets_to_client, bits_per_second, released, cut, ended_at, end_reason, revision"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an earlier run of the agent left."""

    position: Position | None
    boot: Boot | None
    allocations: list[Allocation]
    """Of that boot: those that live, and those that ended a moment ago."""
    denied_up_to: int
    denials: list[Denied]
    rules: list[CredentialRule]


class Spool:
    """One connection, opened when it is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.set_aside: Path | None = None
        """A file that was none of SQLite's any more, and where it is now."""

    def load(self) -> Found:
        """A file that is damaged is moved aside first."""
        try:
            return self._load()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self.close()
            self.set_aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
            self._path.rename(self.set_aside)
            for end in ("-wal", "-shm"):
                self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)
            return self._load()

    def save(self, rows: Sequence[Row], position: Position | None, boot: Boot | None) -> None:
        """All of it or nothing, and on disk when it returns."""
        place = (position.inode, position.offset, position.head_bytes, position.head) if position is not None else (None,) * 4
        with self._transaction() as connection:
            connection.executemany(_SAVE, rows)
            connection.execute(
                "INSERT OR REPLACE INTO reading VALUES (1, ?, ?, ?, ?, ?, ?)",
                (*place, boot.id if boot is not None else None, boot.begun if boot is not None else None),
            )

    def waiting(self, most: int, *, news_only: bool) -> list[AllocationReport]:
        """What was not acknowledged as it is now, the oldest first. News are starts and ends."""
        only = "AND (acknowledged = 0 OR ended_at IS NOT NULL)" if news_only else ""
        rows = self._connected().execute(
            f"SELECT {_COLUMNS} FROM allocation WHERE revision > acknowledged {only} ORDER BY started_at LIMIT ?",  # noqa: S608 - ours
            (most,),
        )
        return [_report(row) for row in rows]

    def acknowledge(self, told: Iterable[AllocationReport], *, at: float) -> None:
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE allocation SET acknowledged = max(acknowledged, ?), acknowledged_at = ? "
                "WHERE boot_id = ? AND session_id = ?",
                [(one.revision, at, one.coturn_boot_id, one.session_id) for one in told],
            )

    def save_rules(self, rules: Iterable[CredentialRule]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO rule VALUES (?, ?, ?, ?)",
                [(one.credential_id, one.end_at_expiry, one.max_allocations, one.max_bits_per_second) for one in rules],
            )

    def forget_rules(self, kept: Iterable[str]) -> None:
        """All but those of these credentials."""
        keeping = set(kept)
        with self._transaction() as connection:
            known = [str(row[0]) for row in connection.execute("SELECT credential_id FROM rule")]
            connection.executemany("DELETE FROM rule WHERE credential_id = ?", [(one,) for one in known if one not in keeping])

    def save_denials(self, up_to: int, denials: Iterable[Denied]) -> None:
        wanted = {one.credential_id: (one.expires_at, one.told_at) for one in denials}
        with self._transaction() as connection:
            known = {
                row[0]: (row[1], row[2]) for row in connection.execute("SELECT credential_id, expires_at, told_at FROM denial")
            }
            connection.executemany("DELETE FROM denial WHERE credential_id = ?", [(one,) for one in known if one not in wanted])
            changed = [(one, *times) for one, times in wanted.items() if known.get(one) != times]
            connection.executemany("INSERT OR REPLACE INTO denial VALUES (?, ?, ?)", changed)
            connection.execute("INSERT OR REPLACE INTO denied_up_to VALUES (1, ?)", (up_to,))

    def clean(self, *, now: float, most: int = MOST_WAITING) -> int:
        """Removes what is told and over for a while; returns how many were removed untold."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM allocation WHERE ended_at IS NOT NULL AND revision <= acknowledged AND acknowledged_at < ?",
                (now - KEPT_SECONDS,),
            )
            excess = max(0, self._count(connection) - most)
            if excess:
                oldest = "SELECT boot_id, session_id FROM allocation WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?"
                excess = connection.execute(
                    f"DELETE FROM allocation WHERE (boot_id, session_id) IN ({oldest})",  # noqa: S608 - ours
                    (excess,),
                ).rowcount
            return excess

    def waiting_count(self) -> int:
        row = self._connected().execute("SELECT count(*) FROM allocation WHERE revision > acknowledged").fetchone()
        return int(row[0])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _count(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM allocation").fetchone()[0])

    def _load(self) -> Found:
        connection = self._connected()
        row = connection.execute("SELECT inode, offset, head_bytes, head, boot_id, begun FROM reading").fetchone()
        position = boot = None
        allocations: list[Allocation] = []
        if row is not None:
            if row[0] is not None:
                position = Position(inode=row[0], offset=row[1], head_bytes=row[2], head=row[3])
            if row[4] is not None:
                boot = Boot(id=row[4], begun=bool(row[5]))
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM allocation WHERE boot_id = ? AND coalesce(ended_at > ?, TRUE) "  # noqa: S608 - ours
                    "ORDER BY started_at, session_id",
                    (boot.id, time.time() - LATE_SECONDS),
                )
                allocations = [_allocation(one) for one in rows]
        up_to = connection.execute("SELECT up_to FROM denied_up_to").fetchone()
        denials = connection.execute("SELECT credential_id, expires_at, told_at FROM denial")
        rules = connection.execute("SELECT credential_id, end_at_expiry, max_allocations, max_bits_per_second FROM rule")
        return Found(
            position=position,
            boot=boot,
            allocations=allocations,
            denied_up_to=up_to[0] if up_to is not None else 0,
            denials=[Denied(credential_id=one[0], expires_at=one[1], told_at=one[2]) for one in denials],
            rules=[
                CredentialRule(credential_id=one[0], end_at_expiry=bool(one[1]), max_allocations=one[2], max_bits_per_second=one[3])
                for one in rules
            ],
        )

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                # In KiB: the rows are few and small, and memory on a relay is dear.
                connection.execute("PRAGMA cache_size=-1024")
                connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled it back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


Row = tuple[object, ...]


def row(one: Allocation) -> Row:
    """As it is now: it changes further while the disk is at work."""
    return (
        one.boot_id,
        one.session_id,
        one.started_at,
        one.username,
        one.client_address,
        one.transport,
        one.bytes_from_client,
        one.bytes_to_client,
        one.packets_from_client,
        one.packets_to_client,
        0.0 if one.ended_at is not None else one.meter.bits_per_second(one.meter.ended),
        one.released,
        one.cut,
        one.ended_at,
        one.end_reason,
        one.revision,
    )


def _allocation(row: tuple) -> Allocation:  # type: ignore[type-arg]  # SQLite's values are of no type
    return Allocation(
        boot_id=row[0],
        session_id=row[1],
        started_at=row[2],
        username=row[3],
        credential=credential(row[3]),
        client_address=row[4],
        transport=row[5],
        bytes_from_client=row[6],
        bytes_to_client=row[7],
        packets_from_client=row[8],
        packets_to_client=row[9],
        released=bool(row[11]),
        cut=row[12],
        ended_at=row[13],
        end_reason=row[14],
        revision=row[15],
        meter=Meter(since=None),
    )


def _report(row: tuple) -> AllocationReport:  # type: ignore[type-arg]  # SQLite's values are of no type
    of = credential(row[3])
    return AllocationReport(
        coturn_boot_id=row[0],
        session_id=row[1],
        started_at=row[2],
        revision=row[15],
        credential_id=of.id if of is not None else None,
        credential_expires_at=of.expires_at if of is not None else None,
        client_address=row[4],
        transport=row[5],
        bytes_from_client=row[6],
        bytes_to_client=row[7],
        packets_from_client=row[8],
        packets_to_client=row[9],
        bits_per_second=row[10],
        ended_at=row[13],
        end_reason=row[14],
    )
