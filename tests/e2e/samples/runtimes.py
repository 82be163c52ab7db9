"""The runtimes that the published samples are written for: how to find them, and what to do without them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from deploy.local.process import base_environment

__all__ = ["ORG_JSON", "RUNTIMES", "SYSTEM_NODE_MODULES", "Runtime", "needs"]

SYSTEM_NODE_MODULES = Path("/usr/share/nodejs")
"""Where Debian puts Node's modules. Its own node looks there unasked, others do not."""
ORG_JSON = Path("/usr/share/java/json.jar")
CHECK_DEADLINE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What it is called by, the Debian packages it comes in, and whether all of it is there."""

    command: str
    packages: tuple[str, ...]
    is_whole: Callable[[str], bool] = lambda command: True


def _runs(*arguments: str, **environment: str) -> bool:
    try:
        ended = subprocess.run(
            arguments,
            env=base_environment() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_DEADLINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def _has_node_fetch(node: str) -> bool:
    return _runs(node, "-e", "require('node-fetch')", NODE_PATH=str(SYSTEM_NODE_MODULES))


RUNTIMES = {
    "curl": Runtime(command="curl", packages=("curl",)),
    "ruby": Runtime(
        command="ruby", packages=("ruby", "ruby-httparty"), is_whole=lambda ruby: _runs(ruby, "-e", "require 'httparty'")
    ),
    # Node 18 is the first with a fetch of its own.
    "node": Runtime(command="node", packages=("nodejs",), is_whole=lambda node: _runs(node, "-e", "fetch.name")),
    "node-fetch": Runtime(command="node", packages=("nodejs", "node-fetch"), is_whole=_has_node_fetch),
    # Running a single source file takes the compiler, so a JRE is not enough.
    "java": Runtime(
        command="java",
        packages=("default-jdk-headless", "libandroid-json-org-java"),
        is_whole=lambda java: shutil.which("javac", path=base_environment()["PATH"]) is not None and ORG_JSON.exists(),
    ),
    "chromium": Runtime(command="chromium", packages=("chromium",)),
}
_OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome", "/Applications/Chromium.app/Contents/MacOS/Chromium")}


def needs(name: str) -> str:
    """The runtime's executable. Without it the test fails in CI, where everything has to run, and is skipped elsewhere."""
    found = _found(name)
    if found is not None:
        return found
    said = f"{name} is not on this machine, or not whole: apt-get install {' '.join(RUNTIMES[name].packages)}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


@cache
def _found(name: str) -> str | None:
    runtime = RUNTIMES[name]
    for command in (runtime.command, *_OTHER_NAMES.get(name, ())):
        path: str | None = shutil.which(command, path=base_environment()["PATH"])
        if path is not None and runtime.is_whole(path):
            return path
    return None
