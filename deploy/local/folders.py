"""Where a stack keeps its files, given that `postgres` and `turnserver` must be able to reach theirs."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from deploy.local.files import make_folder

__all__ = ["LONGEST_SOCKET_PATH", "FolderRefused", "can_be_entered", "short_folder", "state_folder"]

# macOS allows 104 bytes with the closing NUL, Linux 108; PostgreSQL appends `/.s.PGSQL.65535.lock` to its folder.
LONGEST_SOCKET_PATH = 100
ROOM_FOR_NAME = 25


class FolderRefused(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """A folder is not ours, or not of use."""


def can_be_entered(path: Path) -> bool:
    """Whether every account of the machine can reach what is in this folder (existing parents count, too)."""
    folder = path.absolute()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents) if parent.exists())


def state_folder(wanted: Path) -> Path:
    """Makes the folder for a stack's state and returns its real place.

    As root, below a folder that others cannot enter (a 0700 home), `wanted` becomes a link to a folder of ours in
    /var/tmp: PostgreSQL and coturn run under accounts of their own.
    """
    wanted = wanted.absolute()
    if wanted.is_symlink():
        target = wanted.readlink()
        if target.parent == Path("/var/tmp"):  # noqa: S108 - checked for ownership in _own_folder
            return _own_folder(target)
        return wanted.resolve()
    if os.geteuid() != 0 or can_be_entered(wanted):
        make_folder(wanted)
        return wanted.resolve()
    if wanted.exists():
        raise FolderRefused(
            f"{wanted} lies where the postgres and turnserver accounts cannot enter: "
            "remove it (a link to a reachable place is then made for you), or name another with --dir"
        )
    name = "turnfleet-" + hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    target = _own_folder(Path("/var/tmp") / name)  # noqa: S108
    make_folder(wanted.parent)
    wanted.symlink_to(target)
    return target


def _own_folder(folder: Path) -> Path:
    """Anybody may write to /var/tmp: what stands there under our name must be a folder, and ours."""
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise FolderRefused(f"{folder} exists and belongs to somebody else")
    folder.chmod(0o755)
    return folder


def short_folder(wanted: Path) -> Path:
    """`wanted`, made, if a socket in it has a path that systems accept; else a temporary folder (the caller removes it)."""
    if len(os.fsencode(wanted)) + ROOM_FOR_NAME <= LONGEST_SOCKET_PATH:
        make_folder(wanted, mode=0o700)
        return wanted
    return Path(tempfile.mkdtemp(prefix="turnfleet-", dir="/tmp"))
