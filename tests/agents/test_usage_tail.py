"""Reading the log: every line once, through rotations, cuts and restarts of the agent."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.coturn import logfile
from agents.coturn.folder import Owner
from agents.usage import tail as tail_module
from agents.usage.tail import Position, Tail
from tests.agents.places import open_folder

OURS = Owner(user=None, group=None, uid=None, gid=None)


def rest(tail: Tail) -> list[bytes]:
    found = []
    while (piece := tail.read()) is not None:
        found += piece.data.splitlines()
        tail.taken(piece)
    return found


class Coturn:
    """Writes lines as coturn does: into the file that it has open, until it is told to open another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: list[bytes] = []
        self.open()

    def open(self) -> None:
        self.file = self.path.open("ab", buffering=0)
        self.write(b"log file opened")

    def reopen(self) -> None:
        self.file.close()
        self.open()

    def write(self, text: bytes = b"line") -> None:
        line = text + b" %d" % len(self.written)
        self.written.append(line)
        self.file.write(line + b"\n")


STEPS = ["write", "read", "save", "die", "rotate", "reopen"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=40), st.integers(20, 60))
def test_every_line_is_read_once_whatever_comes_between(steps: list[str], piece_bytes: int) -> None:
    """`read` sums up, `save` is the transaction, `die` forgets what was not saved. The host's folder is a real one."""
    before, tail_module.PIECE_BYTES = tail_module.PIECE_BYTES, piece_bytes
    try:
        with open_folder() as folder:
            path = folder / "turn.log"
            coturn, tail = Coturn(path), Tail(path, None)
            summed: list[bytes] = []
            saved: tuple[list[bytes], Position | None] = ([], None)
            told_to_open = False
            for step in steps:
                match step:
                    case "write":
                        coturn.write()
                    case "read":
                        summed += rest(tail)
                    case "save":
                        saved = (list(summed), tail.position)
                    case "die":
                        tail.close()
                        summed, tail = list(saved[0]), Tail(path, saved[1])
                    case "rotate":
                        # Only when all of the older ones is read, and that is on disk.
                        summed += rest(tail)
                        if tail.reads_the_newest() and not told_to_open:
                            saved = (list(summed), tail.position)
                            logfile.rotate(path, OURS)
                            told_to_open = True
                    case _:
                        told_to_open = False
                        coturn.reopen()
            summed += rest(tail)
            assert summed == coturn.written
            assert not tail.lost
            tail.close()
            coturn.file.close()
    finally:
        tail_module.PIECE_BYTES = before


def test_a_line_that_comes_while_the_next_file_is_looked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "turn.log"
    coturn, tail = Coturn(path), Tail(path, None)
    rest(tail)
    look = Tail._next_has_begun

    def late(self: Tail) -> bool:
        if path.with_name("turn.log.1").exists():
            return look(self)
        logfile.rotate(path, OURS)
        coturn.write(b"late")
        coturn.reopen()
        return look(self)

    monkeypatch.setattr(Tail, "_next_has_begun", late)
    coturn.write()
    assert rest(tail) == coturn.written[1:]
    coturn.file.close()


def test_a_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\ntw")
    tail = Tail(path, None)
    assert rest(tail) == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\n")
    assert rest(tail) == [b"two"]


def test_a_piece_comes_again_until_it_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert tail.read() == tail.read()
    assert rest(tail) == [b"one"]


def test_rotations_while_nobody_read_are_followed_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert rest(tail) == [b"one"]
    position = tail.position
    tail.close()
    for number, name in enumerate(("turn.log-20261122", "turn.log.1")):
        with path.open("ab") as file:
            file.write(b"end %d\n" % number)
        path.rename(tmp_path / name)
        os.utime(tmp_path / name, ns=(0, number + 1))
        path.write_bytes(b"begin %d\n" % number)
    (tmp_path / "turn.log.2.gz").write_bytes(b"junk\n")
    assert rest(Tail(path, position)) == [b"end 0", b"begin 0", b"end 1", b"begin 1"]


def test_a_copy_of_the_log_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert rest(tail) == [b"one"]
    (tmp_path / "turn.log.copy").write_bytes(path.read_bytes())
    path.rename(tmp_path / "turn.log.1")
    os.utime(tmp_path / "turn.log.1", ns=(0, 1))
    path.write_bytes(b"two\n")
    assert rest(tail) == [b"two"]


def test_a_log_that_was_cut_begins_anew_and_that_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path, None)
    rest(tail)
    path.write_bytes(b"three\n")
    assert rest(tail) == [b"three"]
    assert tail.lost


def test_another_file_with_the_same_number_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    rest(tail)
    position = tail.position
    # As when the inode is given to the next file.
    path.write_bytes(b"another one\n")
    again = Tail(path, position)
    assert rest(again) == [b"another one"]
    assert again.lost


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "nothing"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "turn.log"
    (tmp_path / "elsewhere").write_bytes(b"secret\n")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
    tail = Tail(path, None)
    assert tail.read() is None
    assert tail.position is None


def test_a_line_without_end_does_not_hold_up_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"x" * (tail_module.PIECE_BYTES * 2) + b"\nline\n")
    assert rest(Tail(path, None))[-1] == b"line"


@pytest.mark.parametrize("call", ["open", "scandir", "listdir", "lstat"])
def test_an_agent_without_a_file_handle_for_a_moment_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "turn.log"
    path.write_bytes(b"one\n")
    tail = Tail(path, None)
    assert rest(tail) == [b"one"]
    position = tail.position
    tail.close()
    path.rename(tmp_path / "turn.log.1")
    path.write_bytes(b"two\n")
    again = Tail(path, position)
    with monkeypatch.context() as patched:

        def refused(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        patched.setattr(os, call, refused)
        with suppress(OSError):
            again.read()
    assert rest(again) == [b"two"]
    assert not again.lost
