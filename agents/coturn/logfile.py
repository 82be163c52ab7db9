"""coturn's log: its end, for the line that tells of a death, and its size, which strangers can drive up by bad credentials."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROTATE_BYTES = 32 * 2**20
"""One old file is kept, so that the log never takes more than twice this."""
_TAIL_BYTES = 4096


def last_lines(path: Path, *, count: int = 5) -> list[str]:
    """User names are cut out with their lines: they are personal data."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip() and "user" not in line.lower()][-count:]


def rotate_when_big(path: Path, *, most_bytes: int = ROTATE_BYTES) -> bool:
    """True when the log was copied beside itself and emptied. coturn appends to the same file, and need not be told.

    Moving it would have coturn make a new one, which its own user may not do in that folder. Lines that are written between the
    copy and the cut are lost.
    """
    old = path.with_name(f"{path.name}.1")
    try:
        if path.stat().st_size < most_bytes:
            return False
        try:
            old.unlink(missing_ok=True)
            descriptor = os.open(old, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as copy, path.open("rb") as log:
                shutil.copyfileobj(log, copy)
        except OSError:
            # A full disk is a reason more to empty it.
            old.unlink(missing_ok=True)
        os.truncate(path, 0)
    except OSError:
        return False
    return True
