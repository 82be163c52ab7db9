"""The files of one journal: numbered segments in a folder of their own, locked by the process that writes them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LOCK_NAME = "lock"
_SUFFIX = ".log"


class FolderLock:
    """An exclusive lock on a journal folder, held as long as the process lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> FolderLock | None:
        """None when a living process holds it. Raises OSError when the folder cannot be used at all."""
        descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}{_SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that exist, oldest first."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable: a new segment that a power cut forgets would lose what was written to it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove an emptied journal folder. The lock goes last, so that nobody adopts half of it."""
    for number in segment_numbers(folder):
        segment_path(folder, number).unlink(missing_ok=True)
    (folder / _LOCK_NAME).unlink(missing_ok=True)
    folder.rmdir()
