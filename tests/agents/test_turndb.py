"""The table of secrets that coturn reads."""

from __future__ import annotations

import asyncio
import grp
import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from agents.coturn import turndb
from agents.coturn.turndb import TurnDatabase
from agents.errors import CoturnError
from controlplane.wire.agent_api import secret_digest
from controlplane.wire.redacted import Redacted
from tests.agents.places import DISK, make_settings
from tests.agents.relay import prepare

ONE, TWO = Redacted("one" * 20), Redacted("two" * 20)


@pytest.fixture
async def database(folder: Path) -> TurnDatabase:
    found = TurnDatabase(folder / "turndb", uid=None, gid=None, disk=DISK)
    await found.prepare()
    return found


def rows(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "turndb")) as connection:
        return sorted(connection.execute("SELECT realm, value FROM turn_secret"))


async def test_what_was_written_is_read_back_by_version(folder: Path, database: TurnDatabase) -> None:
    assert await database.replace("r", {1: ONE, 2: TWO})
    assert await database.read("r") == {1: ONE, 2: TWO}
    assert await database.read("another") == {}
    assert rows(folder) == [("r", ONE.reveal()), ("r", TWO.reveal())]


async def test_the_same_set_again_writes_nothing(folder: Path, database: TurnDatabase) -> None:
    await database.replace("r", {1: ONE})
    with closing(sqlite3.connect(folder / "turndb")) as watcher:
        before = watcher.execute("PRAGMA data_version").fetchone()
        assert not await database.replace("r", {1: ONE})
        assert watcher.execute("PRAGMA data_version").fetchone() == before
        assert await database.replace("r", {1: TWO})
        assert watcher.execute("PRAGMA data_version").fetchone() != before


async def test_whatever_is_not_wanted_goes_with_any_realm(folder: Path, database: TurnDatabase) -> None:
    with closing(sqlite3.connect(folder / "turndb")) as connection:
        connection.execute("INSERT INTO turn_secret VALUES ('foreign', 'row')")
        connection.commit()
    await database.replace("r", {1: ONE})
    assert rows(folder) == [("r", ONE.reveal())]
    await database.replace("r", {})
    assert rows(folder) == []


async def test_a_version_whose_secret_is_gone_is_not_loaded(folder: Path, database: TurnDatabase) -> None:
    await database.replace("r", {1: ONE, 2: TWO})
    with closing(sqlite3.connect(folder / "turndb")) as connection:
        connection.execute("DELETE FROM turn_secret WHERE value = ?", (ONE.reveal(),))
        connection.commit()
    assert await database.read("r") == {2: TWO}


async def test_what_coturns_account_writes_there_ends_no_agent(folder: Path, database: TurnDatabase) -> None:
    """It may write the file, and replace our table by one of its own."""
    await database.replace("r", {1: ONE})
    digest = secret_digest(ONE.reveal())
    with closing(sqlite3.connect(folder / "turndb")) as connection:
        connection.executescript("DROP TABLE turnfleet_secret; CREATE TABLE turnfleet_secret (version, digest)")
        odd = ["x", None, 1.5, b"1", -1, 2**40, 1, *range(2, 40)]
        connection.executemany("INSERT INTO turnfleet_secret VALUES (?, ?)", [(one, digest) for one in odd])
        connection.commit()
    assert list(await database.read("r")) == list(range(1, 17))
    await database.replace("r", {1: ONE})
    assert await database.read("r") == {1: ONE}


async def test_a_failed_change_leaves_the_old_set_whole(folder: Path, database: TurnDatabase) -> None:
    await database.replace("r", {1: ONE})
    with closing(sqlite3.connect(folder / "turndb")) as connection:
        connection.executescript("CREATE TRIGGER refuse BEFORE INSERT ON turn_secret BEGIN SELECT RAISE(FAIL, 'refused'); END")
    with pytest.raises(sqlite3.DatabaseError):
        await database.replace("r", {2: TWO})
    assert rows(folder) == [("r", ONE.reveal())]
    assert await database.read("r") == {1: ONE}


async def test_a_reader_is_not_kept_out_by_a_writer_nor_a_writer_by_a_reader(folder: Path, database: TurnDatabase) -> None:
    await database.replace("r", {1: ONE})
    with closing(sqlite3.connect(folder / "turndb", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM turn_secret").fetchone() == (1,)
        assert await database.replace("r", {1: ONE, 2: TWO})
        assert reader.execute("SELECT count(*) FROM turn_secret").fetchone() == (1,)
        reader.execute("ROLLBACK")
        reader.execute("BEGIN IMMEDIATE")
        assert await database.read("r") == {1: ONE, 2: TWO}


async def test_the_file_is_for_the_agent_and_coturn_alone(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    group = prepared.owner.gid
    for path in (prepared.folder.database, *prepared.folder.database.parent.glob("turndb-*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o660 if group is not None else 0o600), path
        if group is not None:
            assert path.stat().st_gid == group
    if group is not None and os.geteuid() == 0:
        assert grp.getgrgid(group).gr_name == "turnserver"
        assert stat.S_IMODE(prepared.folder.database.parent.stat().st_mode) == 0o2770
    assert stat.S_IMODE(prepared.folder.cli_password.stat().st_mode) == 0o600


async def test_a_file_that_everybody_could_read_is_put_right(folder: Path) -> None:
    path = folder / "turndb"
    path.touch(mode=0o644)
    await TurnDatabase(path, uid=None, gid=None, disk=DISK).prepare()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_tables_are_made_where_no_schema_is_shipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turndb, "SHIPPED_SCHEMA", folder / "no-such-file")
    database = TurnDatabase(folder / "turndb", uid=None, gid=None, disk=DISK)
    await database.prepare()
    await database.prepare()
    assert await database.replace("r", {1: ONE})


async def test_a_broken_file_is_told_in_a_sentence(folder: Path) -> None:
    (folder / "turndb").write_bytes(b"not a database" * 100)
    with pytest.raises(CoturnError, match="cannot be used"):
        await TurnDatabase(folder / "turndb", uid=None, gid=None, disk=DISK).prepare()


@pytest.mark.parametrize("name", ["turndb", "turndb-wal", "turndb-shm"])
async def test_a_link_in_the_databases_folder_is_not_opened(folder: Path, database: TurnDatabase, name: str) -> None:
    await database.replace("r", {1: ONE})
    elsewhere = folder / "elsewhere"
    elsewhere.write_bytes(b"")
    path = folder / name
    path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    for work in (database.prepare(), database.read("r"), database.replace("r", {1: TWO})):
        with pytest.raises(CoturnError, match=f"{name} is a symbolic link"):
            await work
    assert elsewhere.read_bytes() == b""


async def test_a_database_that_is_another_name_of_some_file_is_not_opened(folder: Path, database: TurnDatabase) -> None:
    (folder / "turndb").unlink()
    (folder / "elsewhere").write_bytes(b"")
    os.link(folder / "elsewhere", folder / "turndb")
    with pytest.raises(CoturnError, match="not a regular file with one name"):
        await database.prepare()


async def test_slow_name_servers_do_not_hold_up_the_secrets(database: TurnDatabase) -> None:
    over = threading.Event()
    running = asyncio.get_running_loop()
    # More than the default executor has threads, as host names that are looked up in it would be.
    stuck = [running.run_in_executor(None, over.wait) for _ in range(64)]
    try:
        async with asyncio.timeout(5):
            assert await database.replace("r", {1: ONE})
    finally:
        over.set()
        await asyncio.gather(*stuck)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops coturn to another user")
async def test_a_link_that_is_put_there_after_the_look_reaches_no_file_of_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = await prepare(make_settings(folder))
    # A database of root's own, which root could write to through the link.
    elsewhere = folder / "elsewhere"
    roots = TurnDatabase(elsewhere, uid=None, gid=None, disk=DISK)
    await roots.prepare()
    await roots.replace("r", {1: ONE})
    prepared.folder.database.unlink()
    prepared.folder.database.symlink_to(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr(turndb, "refuse_links", lambda _: None)
        with pytest.raises(sqlite3.Error):
            await prepared.database.replace("r", {1: TWO})
    # What the thread does otherwise is done as root again.
    assert await roots.read("r") == {1: ONE}
