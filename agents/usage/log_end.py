"""What coturn wrote into its log a moment ago, for what cannot wait until the watcher has it: read at once, and never twice.

It may miss lines (of a file that was rotated away, or of more than a piece at once). Whoever needs them all has `Tail`.
"""

from __future__ import annotations

import os
from pathlib import Path

from agents.usage.tail import PIECE_BYTES, opened


class LogEnd:
    """Its calls read what has just been written, from memory: they are made on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._inode: int | None = None
        self._offset = 0

    def news(self) -> bytes:
        """Whole lines since the last call; nothing at the first. A log that cannot be read has no news."""
        try:
            return self._news()
        except OSError:
            self.close()
            return b""

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _news(self) -> bytes:
        found = self._path.lstat()
        if self._file is None or found.st_ino != self._inode:
            self.close()
            self._file = opened(self._path)
            if self._file is None:
                return b""
            # The first one it comes upon is old; one that takes its place is new from its start.
            if found.st_ino != self._inode:
                self._offset = found.st_size if self._inode is None else 0
            self._inode = found.st_ino
        if found.st_size < self._offset or found.st_size > self._offset + PIECE_BYTES:
            self._offset = found.st_size
        if found.st_size == self._offset:
            return b""
        data = os.pread(self._file, PIECE_BYTES, self._offset)
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole
