"""Reads coturn's log on and on, across rotations and restarts of the agent: every line once, none twice.

A file is known by its inode and its first bytes, not by its name. The one that is read to its end is left only when the next
has begun: coturn opens the new file before it writes a line into it, and then writes none into the old one any more.
Blocking calls, for the disk's thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 256 * 2**10
HEAD_BYTES = 256
"""What tells a file from another one that got the same inode: coturn's first line holds the moment at which it was opened."""
_PASSES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}
"""Errors that say nothing about the file: it is there, and opened by the next try."""
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Everything of that file before `offset` is read, and so is every older file."""

    inode: int
    offset: int
    head_bytes: int
    """How many of the first bytes `head` is of."""
    head: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    data: bytes
    """Whole lines."""
    inode: int
    offset: int
    """Where it begins."""


class Tail:
    """Raises OSError for what passes by itself."""

    def __init__(self, path: Path, position: Position | None) -> None:
        self._path = path
        self._wanted = position
        self._file: int | None = None
        self._offset = 0
        self._head = b""
        self.lost = False
        """The file that the position is in is gone, or was cut: lines may be missing."""

    @property
    def position(self) -> Position | None:
        """Behind the last piece that was taken."""
        if self._file is None:
            return self._wanted
        head = self._head[: min(self._offset, HEAD_BYTES)]
        return Position(inode=os.fstat(self._file).st_ino, offset=self._offset, head_bytes=len(head), head=_digest(head))

    def taken(self, piece: Piece) -> None:
        """What it told is in the sums: the next piece is the one behind it."""
        self._offset = piece.offset + len(piece.data)

    def read(self) -> Piece | None:
        """The next piece; the same again until it is taken. None: there is nothing new."""
        if self._file is None and not self._begin():
            return None
        while self._file is not None:
            piece = self._piece()
            if piece is not None:
                return piece
            if not self._next_has_begun():
                return None
            # Lines that came between the look at the old file and the look at the new one.
            piece = self._piece()
            if piece is not None:
                return piece
            self._go_on()
        return None

    def reads_the_newest(self) -> bool:
        """Nothing older is left to read."""
        try:
            found = self._path.lstat()
        except OSError:
            return False
        return self._file is not None and _same(found, os.fstat(self._file))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self) -> bool:
        wanted = self._wanted
        if wanted is not None and any(self._open(path, wanted) for path in self._files()):
            self._wanted = None
            return True
        opened = self._open(self._path, None)
        if opened and wanted is not None:
            self.lost, self._wanted = True, None
        return opened

    def _open(self, path: Path, wanted: Position | None) -> bool:
        file = opened(path)
        if file is None:
            return False
        head = os.pread(file, HEAD_BYTES, 0)
        if wanted is not None and not _is_of(wanted, os.fstat(file), head):
            os.close(file)
            return False
        self.close()
        self._file, self._head, self._offset = file, head, wanted.offset if wanted is not None else 0
        return True

    def _piece(self) -> Piece | None:
        if self._file is None:
            return None
        found = os.fstat(self._file)
        if found.st_size < self._offset:
            # Cut from outside (logrotate's copytruncate): it begins anew.
            self._offset, self._head, self.lost = 0, b"", True
        data = os.pread(self._file, PIECE_BYTES, self._offset)
        # A line without an end is still being written, unless it is longer than coturn's can be.
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == PIECE_BYTES else 0)
        if not end:
            return None
        if len(self._head) < HEAD_BYTES:
            self._head = os.pread(self._file, HEAD_BYTES, 0)
        return Piece(data=data[:end], inode=found.st_ino, offset=self._offset)

    def _next_has_begun(self) -> bool:
        try:
            found = self._path.lstat()
        except OSError:
            return False
        return self._file is not None and not _same(found, os.fstat(self._file)) and found.st_size > 0

    def _go_on(self) -> None:
        """To the file that was written after this one."""
        if self._file is None:
            return
        old, head = os.fstat(self._file), self._head
        for path in self._files():
            with _unless_it_passes():
                found = path.lstat()
                newest = path == self._path
                if _same(found, old) or (not newest and found.st_mtime_ns <= old.st_mtime_ns):
                    continue
                # A copy that somebody made has the same first line.
                if (newest or _head_of(path) != head) and self._open(path, None):
                    return

    def _files(self) -> list[Path]:
        """The log's files, the oldest first, itself last."""
        old = []
        with _unless_it_passes():
            for path in self._path.parent.iterdir():
                if path.name.startswith(f"{self._path.name}.") or path.name.startswith(f"{self._path.name}-"):
                    with _unless_it_passes():
                        found = path.lstat()
                        if stat.S_ISREG(found.st_mode) and path.suffix not in _COMPRESSED:
                            old.append((found.st_mtime_ns, path))
        return [*(path for _, path in sorted(old)), self._path]


def opened(path: Path) -> int | None:
    """A descriptor for reading, when a regular file is there and readable. Raises OSError for what passes by itself."""
    with _unless_it_passes():
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
    return None


@contextmanager
def _unless_it_passes() -> Iterator[None]:
    """For a file that is not there, or not for us. What passes by itself is raised: no file is skipped for it."""
    try:
        yield
    except OSError as error:
        if error.errno in _PASSES:
            raise


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _is_of(wanted: Position, found: os.stat_result, head: bytes) -> bool:
    return (
        found.st_ino == wanted.inode
        and found.st_size >= wanted.offset
        and len(head) >= wanted.head_bytes
        and _digest(head[: wanted.head_bytes]) == wanted.head
    )


def _head_of(path: Path) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(file, HEAD_BYTES, 0)
    finally:
        os.close(file)


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:16]
