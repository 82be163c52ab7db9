"""The files of one journal: numbered segments in a folder of their own, locked by the process that writes them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_LOCK_NAME = "lock"
TRIAL_NAME = "trial"
"""What a journal whose disk failed writes to see whether it takes writes again."""
_GATE_NAME = "gate"
_SUFFIX = ".log"
_DAMAGED_SUFFIX = ".damaged"


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


class GateLock:
    """Held for a moment around making, adopting and removing folders in one journal root, by whichever process does it.

    Without it an adopter could lock and remove the folder of a process that has made it and not locked it yet.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / _GATE_NAME
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}{_SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that exist, oldest first."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def set_damaged_aside(folder: Path, number: int) -> None:
    """Keep a segment for people: what stands behind the damage can no longer be told from it."""
    path = segment_path(folder, number)
    path.rename(path.with_suffix(_DAMAGED_SUFFIX))


def is_damaged(folder: Path) -> bool:
    return any(folder.glob(f"*{_DAMAGED_SUFFIX}"))


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
    (folder / TRIAL_NAME).unlink(missing_ok=True)
    (folder / _LOCK_NAME).unlink(missing_ok=True)
    folder.rmdir()
