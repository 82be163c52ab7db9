"""Small files that survive a crash: written beside their place, synced, then renamed over it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER_MODE = 0o755


def make_folder(path: Path) -> None:
    """Makes the folder and those above it that are missing, for everybody to enter, whatever the umask.

    Folders that exist are left as they are. coturn's account has to pass through them to its files.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        one.chmod(FOLDER_MODE)


def write_atomically(path: Path, content: bytes, *, mode: int, group: int | None = None, durable: bool = True) -> None:
    """Replaces the file at once: a reader sees the old content or the new, never half.

    The mode holds from the first byte on, whatever the umask. Without `durable` nothing is synced: for files that only tell
    what is going on.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if group is not None:
                os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is only on disk once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
