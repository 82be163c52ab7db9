"""Profiles: which control plane, with which token. A file that only its owner can read."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from controlplane.cli.exit_codes import NotLoggedInError, RefusedHereError
from controlplane.client.configuration import VARIABLES

PROFILE_VARIABLE = "TURNFLEET_CLIENT_PROFILE"
_LOGIN = "Log in with: turnfleet login --url https://…"


class Profile(msgspec.Struct, kw_only=True, omit_defaults=True):
    url: str
    token: str
    project: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        return f"Profile(url={self.url!r}, project={self.project!r}, token=[redacted])"


class ProfileFile(msgspec.Struct, kw_only=True):
    current: str | None = None
    """Used when nothing names another."""
    profiles: dict[str, Profile] = {}


def file_path(environment: Mapping[str, str] = os.environ) -> Path:
    """`turnfleet/profiles.json` under XDG_CONFIG_HOME, or under ~/.config."""
    base = environment.get("XDG_CONFIG_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".config") / "turnfleet" / "profiles.json"


def read_file(path: Path) -> ProfileFile:
    """An empty one when there is none. Raises RefusedHereError for one that is damaged, or that others can read."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except FileNotFoundError:
        return ProfileFile()
    except OSError as error:
        raise RefusedHereError(f"{path} cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise RefusedHereError(f"{path} holds tokens and can be read by others. Close it with: chmod 600 {path}")
    try:
        return msgspec.json.decode(content, type=ProfileFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedHereError(f"{path} is damaged ({error}). Repair or remove it, and log in again.") from None


def write_file(path: Path, file: ProfileFile) -> None:
    """The whole file or, when this is interrupted, the old one. Raises RefusedHereError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as new:
                new.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
                new.flush()
                os.fsync(new.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RefusedHereError(f"{path} cannot be written: {error.strerror}.") from None


def pick(named: str | None, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile to use: the one that is named, what the environment says in full, or the current one.

    URL and token come from one place, so that a token is never sent to another control plane than its own.
    Raises NotLoggedInError or RefusedHereError.
    """
    url, token = (environment.get(VARIABLES[name]) or "" for name in ("url", "token"))
    if named is None and (url or token):
        if not (url and token):
            raise RefusedHereError(f"{VARIABLES['url']} and {VARIABLES['token']} belong together: set both, or neither.")
        return Profile(
            url=url,
            token=token,
            project=environment.get(VARIABLES["project"]) or None,
            ca_file=environment.get(VARIABLES["ca_file"]) or None,
        )
    file = read_file(file_path(environment))
    name = named or environment.get(PROFILE_VARIABLE) or file.current
    if name is None:
        raise NotLoggedInError(f"You are not logged in. {_LOGIN}")
    found = file.profiles.get(name)
    if found is None:
        others = ", ".join(file.profiles) or "none"
        raise NotLoggedInError(f"There is no profile {name!r}; there are: {others}. {_LOGIN} --profile {name}")
    return found
