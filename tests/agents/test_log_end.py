"""The end of the log: what was just written, at once and once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.usage import log_end
from agents.usage.log_end import LogEnd


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "coturn.log"
    append(path, b"old\n")
    return path


def test_it_begins_at_the_end_and_tells_whole_lines_once(path: Path) -> None:
    end = LogEnd(path)
    assert end.news() == b""
    append(path, b"one\ntwo\nthr")
    assert [end.news(), end.news()] == [b"one\ntwo\n", b""]
    append(path, b"ee\n")
    assert [end.news(), end.news()] == [b"three\n", b""]
    end.close()


def test_after_a_rotation_it_reads_the_new_file_from_its_start(path: Path) -> None:
    end = LogEnd(path)
    end.news()
    path.rename(path.with_suffix(".1"))
    assert end.news() == b""
    append(path, b"opened\n")
    append(path, b"new\n")
    assert b"new\n" in end.news() + end.news()
    end.close()


def test_what_is_too_much_or_cut_off_is_passed_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_end, "PIECE_BYTES", 16)
    end = LogEnd(path)
    end.news()
    append(path, b"much more than that\n")
    assert end.news() == b""
    append(path, b"one\n")
    assert end.news() == b"one\n"
    path.write_bytes(b"")
    assert end.news() == b""
    append(path, b"two\n")
    assert end.news() == b"two\n"
    end.close()


def test_what_is_no_log_has_no_news(tmp_path: Path) -> None:
    end = LogEnd(tmp_path / "coturn.log")
    assert end.news() == b""
    (tmp_path / "coturn.log").mkdir()
    assert end.news() == b""
