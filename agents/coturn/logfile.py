"""coturn's log: its end, for the line that tells of a death, and its size, which strangers can drive up by bad credentials."""

from __future__ import annotations

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


def move_when_big(path: Path, *, most_bytes: int = ROTATE_BYTES) -> bool:
    """True when the log was moved away: coturn then has to be told to open a new one."""
    try:
        if path.stat().st_size < most_bytes:
            return False
        path.replace(path.with_name(f"{path.name}.1"))
    except OSError:
        return False
    return True
