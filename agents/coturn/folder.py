"""Where coturn's files are, and who may read them.

```
STATE_DIR/coturn/            0750, group of coturn
  turnserver.conf            0640  holds the command line's password
  cli-password               0600  kept, so that the same configuration is rendered after a restart of the agent
  boot.json                  0600  which coturn we started last
  db/turndb (-wal, -shm)     0660 in a 2770 folder: both sides write, and SQLite makes its files in the folder
  run/turn.pid, turn.log     in a 2770 folder: written by coturn
```
"""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from dataclasses import dataclass
from pathlib import Path

from agents.files import write_atomically
from agents.settings import AgentSettings
from controlplane.wire.redacted import Redacted

COTURN_USER = "turnserver"
PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whom coturn runs as, as far as we can and need to know."""

    user: str | None
    """Set when we are root and that user exists: coturn then drops to it."""
    group: str | None
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
        return self.root / "run" / "turn.pid"

    @property
    def log_file(self) -> Path:
        return self.root / "run" / "turn.log"


def find_owner(settings: AgentSettings) -> Owner:
    """Root drops coturn to its own user; another user shares the files when it is in coturn's group; else coturn is as we are."""
    root = os.geteuid() == 0
    try:
        user = pwd.getpwnam(COTURN_USER)
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return Owner(user=None, group=None, gid=None)
    if root and settings.coturn == "own":
        return Owner(user=user.pw_name, group=group.gr_name, gid=group.gr_gid)
    shares = root or group.gr_gid in {os.getegid(), *os.getgroups()}
    # Under another supervisor coturn starts as the right user already.
    return Owner(user=None, group=None, gid=group.gr_gid if shares and settings.coturn == "attached" else None)


def prepare(folder: Folder, owner: Owner) -> Redacted:
    """Makes the folders, and returns the command line's password: the kept one, or a new one."""
    folder.root.parent.mkdir(parents=True, exist_ok=True)
    shared = owner.gid is not None
    _make(folder.root, 0o750 if shared else 0o700, owner)
    for path in (folder.database.parent, folder.pid_file.parent):
        _make(path, 0o2770 if shared else 0o700, owner)
    if folder.cli_password.exists():
        return Redacted(folder.cli_password.read_text().strip())
    password = secrets.token_hex(PASSWORD_BYTES)
    write_atomically(folder.cli_password, password.encode(), mode=0o600)
    return Redacted(password)


def _make(path: Path, mode: int, owner: Owner) -> None:
    path.mkdir(exist_ok=True)
    if owner.gid is not None:
        os.chown(path, -1, owner.gid)
    path.chmod(mode)
