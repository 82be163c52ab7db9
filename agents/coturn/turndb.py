"""The secrets that coturn accepts: its SQLite table, which it reads at each first request of a session.

A change here holds from the very next request on, without a restart. We make the file ourselves, before coturn starts: coturn
would make it readable by everybody. Write-ahead logging is what keeps coturn reading (and not answering 401) while we write.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from agents.coturn.folder import refuse_links
from agents.disk import Disk
from agents.errors import CoturnError
from controlplane.wire.agent_api import secret_digest
from controlplane.wire.redacted import Redacted

SHIPPED_SCHEMA = Path("/usr/share/coturn/schema.sql")
HIGHEST_VERSION = 2**31
MOST_VERSIONS = 16
"""Both as the heartbeat takes them."""
BUSY_SECONDS = 2.0
"""How long a statement waits for another writer; coturn itself only reads."""

_OWN_SCHEMA = """
CREATE TABLE IF NOT EXISTS turnusers_lt (
  realm VARCHAR(127) DEFAULT '', name VARCHAR(512), hmackey CHAR(128), PRIMARY KEY (realm, name));
CREATE TABLE IF NOT EXISTS turn_secret (
  realm VARCHAR(127) DEFAULT '', value VARCHAR(256), PRIMARY KEY (realm, value));
CREATE TABLE IF NOT EXISTS allowed_peer_ip (
  realm VARCHAR(127) DEFAULT '', ip_range VARCHAR(256), PRIMARY KEY (realm, ip_range));
CREATE TABLE IF NOT EXISTS denied_peer_ip (
  realm VARCHAR(127) DEFAULT '', ip_range VARCHAR(256), PRIMARY KEY (realm, ip_range));
CREATE TABLE IF NOT EXISTS turn_origin_to_realm (origin VARCHAR(127), realm VARCHAR(127), PRIMARY KEY (origin));
CREATE TABLE IF NOT EXISTS turn_realm_option (
  realm VARCHAR(127) DEFAULT '', opt VARCHAR(32), value VARCHAR(128), PRIMARY KEY (realm, opt));
CREATE TABLE IF NOT EXISTS oauth_key (
  kid VARCHAR(128), ikm_key VARCHAR(256), timestamp BIGINT DEFAULT 0, lifetime INTEGER DEFAULT 0,
  as_rs_alg VARCHAR(64) DEFAULT '', realm VARCHAR(127), PRIMARY KEY (kid));
CREATE TABLE IF NOT EXISTS admin_user (name VARCHAR(32), realm VARCHAR(127), password VARCHAR(127), PRIMARY KEY (name));
"""

# Beside coturn's tables, so that a secret and its version number change in one transaction. coturn never looks at it.
_VERSIONS = "CREATE TABLE IF NOT EXISTS turnfleet_secret (version INTEGER PRIMARY KEY, digest TEXT NOT NULL)"


class TurnDatabase:
    """One realm's secrets. The file is ours alone, so whatever is not wanted in it goes, of any realm.

    Every call raises CoturnError when a link lies where the database should, and sqlite3.Error for what passes by itself.
    """

    def __init__(self, path: Path, *, uid: int | None, gid: int | None, disk: Disk) -> None:
        self._path = path
        self._uid = uid
        self._gid = gid
        self._disk = disk

    async def prepare(self) -> None:
        """Makes the file and its tables, or puts its mode right. Must be done before coturn starts."""
        await self._disk.run(self._prepare)

    async def read(self, realm: str) -> dict[int, Redacted]:
        """What is there now, by version."""
        return await self._disk.run(partial(self._read, realm))

    async def replace(self, realm: str, secrets: Mapping[int, Redacted]) -> bool:
        """Makes the table hold these and no others, in one transaction. False when it was so already: then nothing is written."""
        return await self._disk.run(partial(self._replace, realm, dict(secrets)))

    def _prepare(self) -> None:
        mode = 0o600 if self._gid is None else 0o660
        refuse_links(self._path)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                if self._gid is not None:
                    os.fchown(descriptor, -1, self._gid)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CoturnError(f"The database {self._path} cannot be made: {error.strerror}.") from None
        try:
            with self._connected() as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                if not _has_table(connection, "turn_secret"):
                    shipped = SHIPPED_SCHEMA.read_text() if SHIPPED_SCHEMA.is_file() else ""
                    connection.executescript(shipped)
                connection.executescript(_OWN_SCHEMA)
                connection.execute(_VERSIONS)
        except sqlite3.DatabaseError as error:
            raise CoturnError(
                f"The database {self._path} cannot be used ({error}): stop coturn and the agent, move it away, start the agent."
            ) from error

    def _read(self, realm: str) -> dict[int, Redacted]:
        with self._connected() as connection:
            connection.execute("BEGIN")
            return _versions(connection, _rows(connection), realm)

    def _replace(self, realm: str, secrets: dict[int, Redacted]) -> bool:
        wanted = {(realm, secret.reveal()) for secret in secrets.values()}
        digests = {version: secret_digest(secret.reveal()) for version, secret in secrets.items()}
        with self._connected() as connection:
            connection.execute("BEGIN")
            rows, known = _rows(connection), _digests(connection)
            connection.execute("ROLLBACK")
            if rows == wanted and known == digests:
                return False
            connection.execute("BEGIN IMMEDIATE")
            try:
                # Read again under the lock: what is removed must be what is there now.
                rows = _rows(connection)
                connection.executemany("DELETE FROM turn_secret WHERE realm = ? AND value = ?", sorted(rows - wanted))
                connection.executemany("INSERT INTO turn_secret (realm, value) VALUES (?, ?)", sorted(wanted - rows))
                connection.execute("DELETE FROM turnfleet_secret")
                connection.executemany("INSERT INTO turnfleet_secret (version, digest) VALUES (?, ?)", sorted(digests.items()))
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            return True

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        refuse_links(self._path)
        # A link may be put there just now: SQLite then opens it with no more rights than who put it there.
        # Autocommit, so that every transaction is one we began.
        with (
            _files_as(self._uid, self._gid),
            closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)) as connection,
        ):
            yield connection


@contextmanager
def _files_as(uid: int | None, gid: int | None) -> Iterator[None]:
    """This thread opens and makes files as that user, setfsuid(2). Only root can, and only Linux has it; else nothing changes."""
    if uid is None or gid is None or sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None


def _rows(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return {(str(realm), str(value)) for realm, value in connection.execute("SELECT realm, value FROM turn_secret")}


def _digests(connection: sqlite3.Connection) -> dict[int, str]:
    """coturn's account may write here too: what cannot be a version, or be more than a heartbeat tells of, counts as not there."""
    found = connection.execute(
        "SELECT version, digest FROM turnfleet_secret WHERE typeof(version) = 'integer' AND version BETWEEN 1 AND ? LIMIT ?",
        (HIGHEST_VERSION, MOST_VERSIONS),
    )
    return {int(version): str(text) for version, text in found}


def _versions(connection: sqlite3.Connection, rows: set[tuple[str, str]], realm: str) -> dict[int, Redacted]:
    """A version is loaded when coturn's table holds a secret of its digest: the number alone proves nothing."""
    values = {secret_digest(value): value for of_realm, value in rows if of_realm == realm}
    return {version: Redacted(values[text]) for version, text in sorted(_digests(connection).items()) if text in values}
