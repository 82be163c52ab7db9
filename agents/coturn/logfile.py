"""coturn's log: its end, for the line that tells of a death; whose lines follow; and its size, which strangers can drive up.

All of it in a folder in which coturn's user may make nothing. That user may write into the file, so the new one of a rotation
is made here, and coturn only opens it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from agents.coturn.folder import Owner, make_log

ROTATE_BYTES = 32 * 2**20
"""One old file is kept, so that the log hardly ever takes more than twice this."""
MOST_UNREAD_BYTES = 4 * ROTATE_BYTES
"""A log that is not read for so long is rotated all the same: a full disk would end more than the counting."""
_TAIL_BYTES = 4096
_PERSONAL = ("user", "session", "connected to", "remote", "peer", "origin")
_TAG = re.compile(r"\.[0-9a-f]{16}(?=:? )")


def last_lines(path: Path, *, count: int = 5) -> list[str]:
    """Lines with user names and clients' addresses are left out: they are personal data. So is the tag: what has it is believed."""
    try:
        with path.open("rb") as file:
            begin = max(0, path.stat().st_size - _TAIL_BYTES)
            file.seek(begin)
            # The first one is most likely the end of a line, whatever that began with.
            lines = file.read().decode("utf-8", "replace").splitlines()[1 if begin else 0 :]
    except OSError:
        return []
    told = [line for line in lines if line.strip() and not any(word in line.lower() for word in _PERSONAL)]
    return [_TAG.sub("", line) for line in told[-count:]]


def append(path: Path, line: bytes) -> None:
    """OSError when it cannot."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def rotate(path: Path, owner: Owner) -> None:
    """Moves the log beside itself, over the one that was there, and makes an empty one, with no moment in which a link could be
    put in its place. coturn writes into the old one until it is told (SIGHUP). OSError when it cannot.
    """
    path.rename(path.with_name(f"{path.name}.1"))
    make_log(path, owner)


def rotation_is_due(path: Path, *, all_read: bool) -> bool:
    """`all_read`: nothing of the old file is left to read, which the rotation removes."""
    try:
        size = path.lstat().st_size
    except OSError:
        return False
    return size >= (ROTATE_BYTES if all_read else MOST_UNREAD_BYTES)
