"""Finding what an earlier run left behind, and nobody else's; and the files and folders of a run."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.certificates import ensure_certificates
from deploy.local.files import keep_private, make_folder
from deploy.local.folders import FolderRefused, can_be_entered, state_folder
from deploy.local.records import Records, end_all


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_a_recorded_process_is_found_and_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    records = Records(tmp_path / "pids.json")
    records.write({"sleeper": sleeper.pid, "absent": None})
    living = records.living()
    assert {name: process.pid for name, process in living.items()} == {"sleeper": sleeper.pid}
    end_all(living.values(), deadline=timedelta(seconds=10))
    assert records.living() == {}


def test_a_pid_that_was_given_out_again_is_not_ours(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pids.json"
    records = Records(file)
    records.write({"sleeper": sleeper.pid})
    record = json.loads(file.read_text())
    record["sleeper"]["started_at_seconds"] -= 60
    file.write_text(json.dumps(record))
    assert records.living() == {}


def test_a_file_cut_short_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "pids.json").write_text('{"api": {"pi')
    assert Records(tmp_path / "pids.json").living() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root do parts run under accounts of their own")
def test_a_state_folder_below_a_private_home_is_a_link_to_a_reachable_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    wanted = tmp_path / "checkout" / ".dev"
    real = state_folder(wanted)
    try:
        assert wanted.is_symlink()
        assert wanted.resolve() == real
        assert can_be_entered(real)
        assert state_folder(wanted) == real
    finally:
        real.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    wanted = tmp_path / ".dev"
    real = state_folder(wanted)
    os.chown(real, 65534, 65534)
    try:
        with pytest.raises(FolderRefused, match="belongs to somebody else"):
            state_folder(wanted)
    finally:
        real.rmdir()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("strict_umask")
def test_folders_and_files_have_their_modes_whatever_the_umask(state: Path) -> None:
    assert mode(state_folder(state / "a" / "b")) == 0o755
    assert mode(state / "a") == 0o755
    make_folder(state / "private" / "more", mode=0o700)
    assert [mode(state / "private"), mode(state / "private" / "more")] == [0o755, 0o700]
    files = ensure_certificates(state / "tls")
    assert [mode(state / "tls"), mode(files.authority), mode(files.certificate)] == [0o755, 0o644, 0o644]
    assert mode(files.key) & 0o007 == 0


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o700)
    make_folder(tmp_path / "kept")
    assert mode(tmp_path / "kept") == 0o700


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = iter(("first", "second"))
    assert [keep_private(tmp_path / "secret", lambda: next(made)) for _ in range(2)] == ["first", "first"]
    assert mode(tmp_path / "secret") == 0o600
