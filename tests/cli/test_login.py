"""Logging in, profiles, and where the token is kept."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest

from tests.cli.running_cli import Cli
from tests.client.used_api import Used


@pytest.fixture
def cli(folder: Path) -> Cli:
    """Somebody who is not logged in yet."""
    return Cli(environment={"HOME": str(folder), "NO_PROXY": "127.0.0.1"})


@pytest.fixture(params=[False, True], ids=["here", "own process"])
def any_cli(cli: Cli, request: pytest.FixtureRequest) -> Cli:
    cli.own_process = request.param
    return cli


def kept(folder: Path) -> Path:
    return folder / ".config" / "turnfleet" / "profiles.json"


async def test_a_token_from_stdin_is_checked_and_kept_for_its_owner_alone(cli: Cli, used: Used, folder: Path) -> None:
    token = used.api.tokens["project_token"]
    ended = await cli("login", "--url", used.api.url + "/", stdin=token + "\n")
    assert ended.status == 0, ended.err
    assert token not in ended.out + ended.err
    assert stat.S_IMODE(kept(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept(folder).parent.stat().st_mode) == 0o700
    assert (await cli("cred", "issue", "--json")).status == 0
    listed = await cli("profile", "list")
    assert used.api.url in listed.out
    assert token not in listed.out + (await cli("profile", "list", "--json")).out


async def test_a_token_that_is_refused_is_not_kept(any_cli: Cli, used: Used, folder: Path) -> None:
    cli = any_cli
    ended = await cli("login", "--url", used.api.url, stdin="tfp_nonsense\n")
    assert ended.status == 3
    assert "token_invalid" in ended.err
    assert not kept(folder).exists()
    assert (await cli("login", "--url", used.api.url)).status == 2
    assert (await cli("login", "--url", "nowhere", stdin="a\n")).status == 2
    assert (await cli("login", "--url", used.api.url, "--token", "a")).status == 2


async def test_profiles_stand_side_by_side(cli: Cli, used: Used) -> None:
    for name, kind in (("app", "project"), ("ops", "operator")):
        token = used.api.tokens[f"{kind}_token"]
        words = ["--project", "demo/demo"] if kind == "operator" else []
        assert (await cli("login", "--url", used.api.url, "--profile", name, *words, stdin=token)).status == 0
    assert (await cli("node", "list")).status == 0
    assert (await cli("cred", "issue", "--json")).status == 0
    assert (await cli("node", "list", "--profile", "app")).status == 3
    assert (await cli("node", "list", TURNFLEET_CLIENT_PROFILE="app")).status == 3
    assert (await cli("profile", "use", "app")).status == 0
    assert [each["current"] for each in (await cli("profile", "list", "--json")).json_lines()] == [True, False]
    assert (await cli("profile", "use", "nobody")).status == 4
    unknown = await cli("region", "list", "--profile", "nobody")
    assert unknown.status == 3
    assert "app, ops" in unknown.err
    assert (await cli("logout", "--profile", "app")).status == 0
    assert (await cli("logout", "--profile", "app")).status == 4


async def test_url_and_token_come_from_one_place(cli: Cli, used: Used) -> None:
    assert (await cli("login", "--url", used.api.url, stdin=used.api.tokens["project_token"])).status == 0
    for half in ({"TURNFLEET_CLIENT_URL": "http://127.0.0.1:1"}, {"TURNFLEET_CLIENT_TOKEN": "tfp_other"}):
        ended = await cli("region", "list", **half)
        assert ended.status == 2
        assert "belong together" in ended.err


async def test_a_file_that_others_can_read_or_that_is_damaged_is_not_used(cli: Cli, used: Used, folder: Path) -> None:
    assert (await cli("login", "--url", used.api.url, stdin=used.api.tokens["project_token"])).status == 0
    kept(folder).chmod(0o644)
    ended = await cli("region", "list")
    assert ended.status == 2
    assert f"chmod 600 {kept(folder)}" in ended.err
    kept(folder).chmod(0o600)
    kept(folder).write_text('{"current": 1}')
    ended = await cli("region", "list")
    assert ended.status == 2
    assert "damaged" in ended.err


async def test_the_folder_follows_xdg(cli: Cli, used: Used, folder: Path) -> None:
    token = used.api.tokens["project_token"]
    assert (await cli("login", "--url", used.api.url, stdin=token, XDG_CONFIG_HOME=str(folder / "other"))).status == 0
    assert json.loads((folder / "other" / "turnfleet" / "profiles.json").read_text())["current"] == "default"


async def test_on_a_terminal_the_token_is_asked_for_and_not_shown(cli: Cli, used: Used) -> None:
    token = used.api.tokens["project_token"]

    def log_in() -> tuple[int, str]:
        child, terminal = pty.fork()
        if child == 0:
            arguments = [sys.executable, "-m", "controlplane", "login", "--url", used.api.url]
            os.execve(sys.executable, arguments, {"PATH": os.environ["PATH"], **cli.environment})
        said = b""
        typed = False
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            said += part
            if not typed and b"Token: " in said:
                os.write(terminal, token.encode() + b"\n")
                typed = True
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode()

    status, said = await asyncio.to_thread(log_in)
    assert status == 0, said
    assert "Logged in" in said
    assert token not in said
