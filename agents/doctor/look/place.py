"""The agent's folder, its disk, and coturn's program."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agents import host, identity
from agents.coturn import processes
from agents.coturn.capabilities import parse_version
from agents.coturn.folder import Folder, Owner, find_owner, first_closed, refuse_links
from agents.errors import CoturnError, IdentityError
from agents.identity import Identity
from agents.settings import AgentSettings

VERSION_SECONDS = 5.0
MOST_WORDS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFacts:
    path: Path
    exists: bool
    nearest: Path
    """The folder itself, or the nearest one above it that is there."""
    is_folder: bool
    writable: bool
    closed: Path | None
    """The first folder on the way that coturn's user may not enter."""
    owner: Owner
    foreign_files: str | None
    """What lies where coturn's database belongs, as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    path: Path
    free_bytes: int
    free_files: int | None
    """None where the file system does not count them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoturnFacts:
    binary: str
    path: str | None
    version: tuple[int, int, int] | None
    said: str
    """What it printed, when that is no version."""
    pids: tuple[int, ...]
    """Coturns that run with our configuration."""


def folder(settings: AgentSettings) -> FolderFacts:
    path, owner = settings.state_dir, find_owner(settings)
    nearest = _nearest(path)
    place = Folder(root=path / "coturn")
    foreign: str | None = None
    try:
        refuse_links(place.database)
    except CoturnError as error:
        foreign = str(error)
    return FolderFacts(
        path=path,
        exists=nearest == path,
        nearest=nearest,
        is_folder=nearest.is_dir(),
        writable=os.access(nearest, os.W_OK | os.X_OK),
        closed=first_closed(nearest, owner),
        owner=owner,
        foreign_files=foreign,
    )


def disk(settings: AgentSettings) -> DiskFacts:
    nearest = _nearest(settings.state_dir)
    found = os.statvfs(nearest)
    return DiskFacts(path=nearest, free_bytes=shutil.disk_usage(nearest).free, free_files=found.f_favail if found.f_files else None)


def joined(settings: AgentSettings) -> Identity | IdentityError | None:
    try:
        return identity.load(settings.state_dir)
    except IdentityError as error:
        return error


def coturn(binary: str, state_dir: Path | None) -> CoturnFacts:
    path = shutil.which(binary)
    pids = coturn_pids(binary, state_dir) if state_dir is not None else ()
    try:
        said = _said(path) if path is not None else ""
        version = parse_version(said)
    except subprocess.TimeoutExpired:
        said, version = f"no answer within {VERSION_SECONDS:g} s", None
    except OSError as error:
        said, version = error.strerror or str(error), None
    return CoturnFacts(binary=binary, path=path, version=version, said=said[-MOST_WORDS:], pids=pids)


def coturn_pids(binary: str, state_dir: Path) -> tuple[int, ...]:
    return tuple(processes.coturns_with_config(Folder(root=state_dir / "coturn").config, binary=binary))


def open_files_limit(pids: tuple[int, ...]) -> int:
    """Of the coturn that runs, else what one started from here may have: it raises its own limit as far as it may. 0 for none."""
    for pid in pids:
        limit = host.open_files(pid).limit
        if limit:
            return limit
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if most == resource.RLIM_INFINITY else most


def _said(path: str) -> str:
    done = subprocess.run(  # noqa: S603 - the operator names the program, as for `run`
        [path, "--version"],
        env={key: value for key, value in os.environ.items() if not key.startswith("TURNFLEET_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=VERSION_SECONDS,
        check=False,
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def _nearest(path: Path) -> Path:
    while not _is_there(path) and path != path.parent:
        path = path.parent
    return path


def _is_there(path: Path) -> bool:
    """False also for what this user may not look at."""
    try:
        return path.exists()
    except OSError:
        return False
