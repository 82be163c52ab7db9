"""Looking at processes of this host: who is a coturn, who uses our configuration, who started when.

From /proc where it is there; elsewhere through `ps`. A process that is gone, or not ours to see, reads as None.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROC = Path("/proc")
PS_SECONDS = 2.0


def arguments(pid: int) -> list[str] | None:
    """The command line of a living process; None for one that is gone, and for a zombie."""
    if not PROC.joinpath("self").exists():
        return _arguments_by_ps(pid)
    try:
        content = PROC.joinpath(str(pid), "cmdline").read_bytes()
    except OSError:
        return None
    return [os.fsdecode(part) for part in content.rstrip(b"\0").split(b"\0")] if content else None


def is_gone(pid: int) -> bool:
    """True only when nothing of it is left: one that is just ending has no command line any more, but still its sockets."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        stat = PROC.joinpath(str(pid), "stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}


def start_mark(pid: int) -> str | None:
    """Something that differs between two processes which had the same pid one after the other."""
    try:
        stat = PROC.joinpath(str(pid), "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces; the start time is the 20th field behind it.
    return stat.rpartition(")")[2].split()[19]


def is_coturn(pid: int, *, binary: str) -> bool:
    found = arguments(pid)
    return bool(found) and Path(found[0]).name in {"turnserver", Path(binary).name} if found else False


def uses_config(pid: int, config: Path) -> bool:
    """Whether its command line names our configuration, and means our file by it: in a container the same path is another."""
    return str(config) in (arguments(pid) or []) and _sees(pid, config)


def _sees(pid: int, path: Path) -> bool:
    """True also where it cannot be told: no /proc, not ours to see, or no such file here either."""
    try:
        ours = path.stat()
        theirs = PROC.joinpath(str(pid), "root", *path.parts[1:]).stat()
    except FileNotFoundError:
        return not path.exists() or not PROC.joinpath(str(pid), "root").is_dir()
    except OSError:
        return True
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def coturns_with_config(config: Path, *, binary: str) -> list[int]:
    """Every living coturn on this host that was started with our configuration, whoever is its parent."""
    try:
        names = [entry.name for entry in PROC.iterdir() if entry.name.isdigit()]
    except OSError:
        return []
    return sorted(int(one) for one in names if uses_config(int(one), config) and is_coturn(int(one), binary=binary))


def read_pid(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    # 0 and 1 are never a coturn, and signalling them would hit a group or init.
    return int(text) if text.isascii() and text.isdigit() and int(text) > 1 else None


def _arguments_by_ps(pid: int) -> list[str] | None:
    done = subprocess.run(  # noqa: S603 - a fixed program with a number
        ["/bin/ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, timeout=PS_SECONDS, check=False
    )
    return done.stdout.split() or None
