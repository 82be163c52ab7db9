"""deploy/dev before anything is installed: help, usage, and the exact line for whoever may not install."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from deploy.local.layout import CHECKOUT

ENTRY = CHECKOUT / "deploy/dev"
# What a bare system has, and the script uses.
PLAIN = ("sh", "dirname", "uname", "id", "sed", "tr", "cat", "date", "cut", "readlink")


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH on which nothing that turnfleet needs is found, but Python and apt-get."""
    for name in PLAIN:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    (tmp_path / "python3").symlink_to(sys.executable)
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\necho apt-get was run\n")
    apt.chmod(0o755)
    return str(tmp_path)


async def entry(*arguments: str, path: str | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        str(ENTRY),
        *arguments,
        env=os.environ | ({"PATH": path} if path else {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_help_needs_nothing_installed(bare_path: str) -> None:
    status, said = await entry("--help", path=bare_path)
    assert status == 0
    assert said.startswith("usage: deploy/dev")


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "stop", "start", "test", "lint", "bench", "fresh"])
async def test_every_command_has_help(command: str) -> None:
    status, said = await entry(command, "--help")
    assert status == 0
    assert said.startswith(f"usage: deploy/dev {command}")


@pytest.mark.parametrize("arguments", [(), ("launch",)], ids=["none", "unknown"])
async def test_no_command_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    status, said = await entry(*arguments)
    assert status == 2
    assert "usage: deploy/dev" in said


@pytest.mark.skipif(sys.platform != "linux", reason="the line is Debian's")
async def test_who_may_not_install_is_told_the_exact_line(bare_path: str) -> None:
    status, said = await entry("--no-install", "up", path=bare_path)
    assert status == 3
    assert "apt-get update && apt-get install -y --no-install-recommends " in said
    assert "redis-server" in said
    assert "coturn" in said
    assert "apt-get was run" not in said
