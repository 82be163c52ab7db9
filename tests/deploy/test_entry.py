"""deploy/dev before anything is installed: help, usage, and the exact line for whoever may not install."""

import sys

import pytest

from tests.deploy.programs import entry


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
