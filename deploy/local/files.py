"""The files and folders a stack makes: their modes are those named here whatever the umask, and a file is whole or not there."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["keep_private", "make_folder", "write_private", "write_whole"]


def make_folder(folder: Path, *, mode: int = 0o755) -> None:
    """With the parents that are missing, which every account may enter. What is there already stays as it is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        one.chmod(mode if one == folder else 0o755)


def write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Replaces the file in one step. Until its mode is set, only its owner reads it."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, mode)
        opened.write(content)
    fresh.replace(file)


def write_private(file: Path, text: str) -> None:
    """For what may hold tokens and passwords: only its owner reads it."""
    write_whole(file, f"{text}\n".encode(), mode=0o600)


def keep_private(file: Path, make: Callable[[], str]) -> str:
    """What the file holds; made when there is none yet."""
    if not file.exists():
        write_private(file, make())
    return file.read_text().strip()
