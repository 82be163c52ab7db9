"""coturn's folder: what its own user may write there, and what it must be able to reach."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.coturn import folder as coturn_folder
from agents.coturn.folder import Folder
from agents.errors import CoturnError
from agents.files import make_folder
from tests.agents.places import make_settings
from tests.agents.relay import prepare, relay

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops coturn to another user")


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def done_by_coturns_user(*command: str) -> int:
    return subprocess.run(
        command, user="turnserver", group="turnserver", extra_groups=[], cwd="/", check=False, capture_output=True
    ).returncode


@root_only
async def test_coturns_user_can_make_nothing_where_root_opens_its_files(folder: Path) -> None:
    async with relay(make_settings(folder)) as one:
        place = one.prepared.folder
        for path in (place.log_file, place.pid_file, place.config):
            assert path.is_file()
            assert path.parent == place.root
            assert done_by_coturns_user("ln", "-sf", "/etc/hostname", str(path)) != 0
            assert not path.is_symlink()
        assert done_by_coturns_user("touch", str(place.root / "new")) != 0
        assert done_by_coturns_user("touch", str(place.database.parent / "new")) == 0
        assert stat.S_IMODE(place.root.stat().st_mode) == 0o750
        assert stat.S_IMODE(place.log_file.stat().st_mode) == 0o660


@root_only
async def test_a_link_in_the_place_of_the_log_is_refused(folder: Path) -> None:
    prepared = await prepare(make_settings(folder))
    elsewhere = folder / "elsewhere"
    elsewhere.write_text("kept")
    prepared.folder.log_file.unlink()
    prepared.folder.log_file.symlink_to(elsewhere)
    with pytest.raises(CoturnError, match=r"turn\.log"):
        coturn_folder.prepare(prepared.folder, prepared.owner)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


@pytest.mark.usefixtures("narrow_umask")
async def test_coturn_reaches_its_files_whatever_the_umask(folder: Path) -> None:
    settings = make_settings(folder / "some" / "where")
    make_folder(settings.state_dir)
    # It greets and counts only when it could open its configuration, and serves only with its database.
    async with relay(settings) as one:
        assert await one.command_line.total_sessions() == 0
        if one.prepared.owner.user is not None:
            assert done_by_coturns_user("cat", str(one.prepared.folder.database)) == 0


@root_only
async def test_a_folder_that_coturns_user_cannot_enter_is_told_at_the_start(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(CoturnError, match=f"turnserver.* cannot enter {closed},"):
        await prepare(make_settings(closed))


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(folder: Path) -> None:
    (folder / "state").write_text("a file in the way")
    settings = make_settings(folder)
    with pytest.raises(CoturnError, match="cannot be prepared"):
        coturn_folder.prepare(Folder(root=settings.state_dir / "coturn"), coturn_folder.find_owner(settings))
