"""Commands that are named exist, and take the arguments that they are shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from agents.cli import _parser as agent_parser
from controlplane.__main__ import ON_SERVERS
from controlplane.cli.app import make_cli
from controlplane.commands import cli as server_cli
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
    here: Any = get_command(make_cli({}, lambda _: None))
    commands = _commands()
    while words and words[0] in commands:
        here, words = commands[words[0]], words[1:]
        commands = getattr(here, "commands", {})
    options = {option for parameter in here.params for option in parameter.opts} | {"--help"}
    wrong = [word for word in words if word.startswith("-") and word not in options]
    assert not wrong, f"{here.name} has no {wrong}"
    takes_arguments = any(parameter.param_type_name == "argument" for parameter in here.params)
    assert not words or words[0].startswith("-") or takes_arguments, f"{here.name} has no {words[0]}"


def _commands() -> dict[str, Any]:
    """Those that call the API, and those for servers."""
    both: list[Any] = [get_command(make_cli({}, lambda _: None)), get_command(server_cli)]
    return {name: command for each in both for name, command in each.commands.items()}


def _leaves(commands: dict[str, Any], before: str = "turnfleet") -> Iterator[str]:
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            yield f"{before} {name}"
        else:
            yield from _leaves(inner, f"{before} {name}")


def test_every_command_of_the_command_line_is_on_its_page() -> None:
    here: Any = get_command(make_cli({}, lambda _: None))
    documented = {code for row in rows(page("docs/reference/cli.md"), under="Commands") for code in row.first_words}
    assert documented == set(_leaves(here.commands))


def test_the_commands_for_servers_are_those_that_are_handed_over() -> None:
    here: Any = get_command(server_cli)
    assert set(here.commands) == set(ON_SERVERS)
