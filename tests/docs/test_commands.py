"""Commands that are named exist, and take the arguments that they are shown with."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from agents.cli import _parser as agent_parser
from controlplane.main import cli
from deploy.local.parser import build_parser
from tests.docs.pages import fenced, inline_code, page, pages, rows, without_fences

_DEV = re.compile(r"\./deploy/dev(?= )([^\n`;|&#]*)")
_TURNFLEET = re.compile(r"(?<![\w/.-])(turnfleet(?:-agent)?) ((?:[a-z][\w-]*|--[\w-]+)(?: [\w./=-]+)*)")


def _code(name: str) -> str:
    text = page(name)
    return "\n".join([*inline_code(without_fences(text)), *fenced(text, "sh", "console")])


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_dev_command_is_taken_by_its_parser(name: str) -> None:
    for arguments in _DEV.findall(_code(name)):
        words = [word for word in shlex.split(arguments) if word != "--no-install"]
        if words[0] == "test":
            words = words[:1]  # the rest is pytest's
        try:
            build_parser().parse_args(words)
        except SystemExit as refused:
            pytest.fail(f"{name}: ./deploy/dev{arguments} ends with status {refused.code}")


def test_dev_commands_are_found_at_all() -> None:
    assert sum(len(_DEV.findall(_code(name))) for name in pages()) > 20


def test_every_dev_command_is_on_the_development_page() -> None:
    commands = re.findall(r"^    (\w+) ", build_parser().format_help(), re.MULTILINE)
    assert "up" in commands
    assert [row.cells[0].strip("`") for row in rows(page("docs/development.md"), under="deploy/dev")][: len(commands)] == commands


def test_the_readme_has_the_two_commands_on_lines_of_their_own() -> None:
    lines = {line for block in fenced(page("README.md"), "sh") for line in block.splitlines()}
    assert {"./deploy/dev up", "./deploy/dev test"} <= lines


@pytest.mark.parametrize("name", sorted(pages()))
def test_every_command_of_the_programs_exists(name: str) -> None:
    for program, rest in _TURNFLEET.findall(_code(name)):
        words = rest.split()
        if program == "turnfleet-agent":
            try:
                agent_parser().parse_args(words)
            except SystemExit as ended:
                if ended.code:
                    pytest.fail(f"{name}: {program} {rest} ends with status {ended.code}")
        else:
            _check_turnfleet(words)


def _check_turnfleet(words: list[str]) -> None:
    """Down the tree of commands; what is left are options, each with a value at most."""
    here: Any = get_command(cli)
    while words and words[0] in getattr(here, "commands", {}):
        here, words = here.commands[words[0]], words[1:]
    options = {option for parameter in here.params for option in parameter.opts} | {"--help"}
    wrong = [word for word in words if word.startswith("-") and word not in options]
    assert not wrong, f"{here.name} has no {wrong}"
    assert not words or words[0].startswith("-"), f"{here.name} has no {words[0]}"
