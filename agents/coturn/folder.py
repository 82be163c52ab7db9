"""Where coturn's files are, and who may read them.

```
STATE_DIR/coturn/            0750, group of coturn, which may not write in it
  turnserver.conf            0640  holds the command line's password
  cli-password               0600  kept, so that the same configuration is rendered after a restart of the agent
  boot.json                  0600  which coturn we started last
  db/turndb (-wal, -shm)     0660 in a 2770 folder: both sides write, and SQLite makes its files in the folder
  turn.pid                   written by coturn while it is root still (0660 under another supervisor, where it may not be)
  turn.log, turn.log.1       0660  made by us, appended to by coturn; the second is what was rotated away
```

coturn begins as root and opens its log, its pidfile and its database before it becomes its own user. In a folder in which that
user may write, a symbolic link would make root write wherever the user likes. So the log and the pidfile are in one where it may
not, and the database's folder is looked at before anything in it is opened.
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import stat
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.errors import CoturnError
from agents.files import make_folder, write_atomically
from agents.settings import AgentSettings
from controlplane.wire.redacted import Redacted

COTURN_USER = "turnserver"
PASSWORD_BYTES = 32
_LOOK_SECONDS = 10.0
# Prints the first of its arguments that the test refuses.
_FIRST_REFUSED = 'for one; do test {} "$one" || {{ echo "$one"; exit; }}; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whom coturn runs as, as far as we can and need to know."""

    user: str | None
    """Set when we are root and that user exists: coturn then drops to it."""
    group: str | None
    uid: int | None
    """Of `user`."""
    gid: int | None
    """The group that shares the files; None when coturn runs as ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The paths alone; nothing is touched before prepare()."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "turnserver.conf"

    @property
    def cli_password(self) -> Path:
        return self.root / "cli-password"

    @property
    def boot(self) -> Path:
        return self.root / "boot.json"

    @property
    def database(self) -> Path:
        return self.root / "db" / "turndb"

    @property
    def pid_file(self) -> Path:
        return self.root / "turn.pid"

    @property
    def log_file(self) -> Path:
        return self.root / "turn.log"


def find_owner(settings: AgentSettings) -> Owner:
    """Root drops coturn to its own user; another user shares the files when it is in coturn's group; else coturn is as we are."""
    root = os.geteuid() == 0
    try:
        user = pwd.getpwnam(COTURN_USER)
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return Owner(user=None, group=None, uid=None, gid=None)
    if root and settings.coturn == "own":
        return Owner(user=user.pw_name, group=group.gr_name, uid=user.pw_uid, gid=group.gr_gid)
    shares = root or group.gr_gid in {os.getegid(), *os.getgroups()}
    # Under another supervisor coturn starts as the right user already.
    return Owner(user=None, group=None, uid=None, gid=group.gr_gid if shares and settings.coturn == "attached" else None)


def prepare(folder: Folder, owner: Owner) -> Redacted:
    """Makes the folders, and returns the command line's password: the kept one, or a new one. CoturnError when it cannot be."""
    try:
        password = _prepared(folder, owner)
        closed = first_closed(folder.database.parent, owner)
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        raise CoturnError(f"coturn's folder {folder.root} cannot be prepared: {error}.") from None
    if closed is not None:
        raise CoturnError(
            f"The user {owner.user}, whom coturn becomes, cannot enter {closed}, and so not reach its database: "
            f"chmod o+x {closed}, or set another STATE_DIR."
        )
    return password


def make_log(path: Path, owner: Owner) -> None:
    """An empty log that coturn may append to, or the one that is there put right. OSError when it cannot be."""
    _make_file(path, owner)


def refuse_links(database: Path) -> None:
    """CoturnError when the database or a file beside it is not what SQLite left there: root must not open it then.

    The folder has to be open to coturn's user, which could put a link to any file of the host in its place.
    """
    for path in (database, *(database.with_name(f"{database.name}{end}") for end in ("-wal", "-shm", "-journal"))):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CoturnError(f"{path} cannot be looked at: {error.strerror}.") from None
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a regular file with one name"
            raise CoturnError(
                f"{path} is {kind}, which neither coturn nor the agent puts there, so it is not opened: "
                "look for who did, then remove it."
            )


def _prepared(folder: Folder, owner: Owner) -> Redacted:
    make_folder(folder.root.parent)
    shared = owner.gid is not None
    _make(folder.root, 0o750 if shared else 0o700, owner)
    _make(folder.database.parent, 0o2770 if shared else 0o700, owner)
    make_log(folder.log_file, owner)
    if shared and owner.user is None:
        # Another supervisor may start coturn as its own user, which can make no file here.
        _make_file(folder.pid_file, owner)
    if folder.cli_password.exists():
        kept = folder.cli_password.read_text().strip()
        if kept:
            return Redacted(kept)
    password = secrets.token_hex(PASSWORD_BYTES)
    write_atomically(folder.cli_password, password.encode(), mode=0o600)
    return Redacted(password)


def _make(path: Path, mode: int, owner: Owner) -> None:
    path.mkdir(exist_ok=True)
    if owner.gid is not None:
        os.chown(path, -1, owner.gid)
    path.chmod(mode)


def _make_file(path: Path, owner: Owner) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    mode = 0o600 if owner.gid is None else 0o660
    try:
        found = os.fstat(descriptor)
        # One that is right already may belong to somebody else, as logrotate may have made it.
        if owner.gid is not None and found.st_gid != owner.gid:
            os.fchown(descriptor, -1, owner.gid)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def first_closed(path: Path, owner: Owner) -> Path | None:
    """The first folder on the way that the user may not enter, as the system itself sees it (access lists and all).

    OSError and SubprocessError when it cannot be told.
    """
    return _first_refused("-x", (*reversed(path.parents), path), owner)


def first_unreadable(paths: Sequence[Path], owner: Owner) -> str | None:
    """Why coturn's user cannot read one of the files, as a sentence. coturn begins as root, and reads them again as that user."""
    try:
        closed = _first_refused("-r", paths, owner)
    except (OSError, subprocess.SubprocessError) as error:
        return f"Whether coturn's user can read {paths[0]} cannot be told ({error})."
    if closed is None:
        return None
    return f"The user {owner.user}, whom coturn becomes, cannot read {closed}, and so not load it when it is renewed."


def _first_refused(test: str, paths: Iterable[Path], owner: Owner) -> Path | None:
    if owner.user is None:
        return None
    done = subprocess.run(  # noqa: S603 - a fixed program; the paths are arguments
        ["/bin/sh", "-c", _FIRST_REFUSED.format(test), "sh", *(str(one) for one in paths)],
        user=owner.user,
        group=owner.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=_LOOK_SECONDS,
        check=False,
    )
    return Path(done.stdout.rstrip("\n")) if done.stdout.strip() else None
