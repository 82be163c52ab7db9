"""Every variable is documented with its default, and none is documented that nobody reads."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import MISSING, fields

import pytest

from agents.settings import FIELDS, AgentSettings
from controlplane.cli.profiles import PROFILE_VARIABLE
from controlplane.client.configuration import VARIABLES
from controlplane.settings import TABLE, variable
from tests.docs.pages import page, pages, rows

_PAGE = "docs/reference/settings.md"
_VARIABLE = re.compile(r"TURNFLEET_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_]*\*)")
_FILE_VARIANTS = {"TURNFLEET_MASTER_KEY_FILE", "TURNFLEET_MASTER_KEY_PREVIOUS_FILE"}


def _control_plane() -> dict[str, str]:
    """Variable → the default as the page shows it."""
    return {
        variable(field): "required" if setting.default is None else setting.default or "empty" for field, setting in TABLE.items()
    }


def _agent() -> dict[str, str]:
    required = {field.name for field in fields(AgentSettings) if field.default is MISSING}
    return {doc.variable: "required" if name in required else doc.default or "unset" for name, doc in FIELDS.items()}


def _client() -> set[str]:
    return {*VARIABLES.values(), PROFILE_VARIABLE}


def _documented(heading: str) -> dict[str, str]:
    table = rows(page(_PAGE), under=heading)
    assert all(len(row.cells) == 3 and row.cells[2] for row in table), "a row lacks its default or its meaning"
    return {row.cells[0].strip("`"): row.cells[1].replace("`", "") for row in table}


def test_control_plane_settings_and_their_defaults_are_documented() -> None:
    assert _documented("Control plane") == _control_plane()


def test_agent_settings_and_their_defaults_are_documented() -> None:
    assert _documented("Agent") == _agent()


def test_variables_of_the_client_are_documented() -> None:
    table = rows(page(_PAGE), under="Client and command line")
    assert {row.cells[0].strip("`") for row in table} == _client()
    assert all(row.cells[1] for row in table)


def test_no_setting_is_documented_twice() -> None:
    counted = Counter(row.cells[0] for row in rows(page(_PAGE)))
    assert [name for name, count in counted.items() if count > 1] == []


def test_the_file_variant_of_the_master_key_is_documented() -> None:
    assert all(variant in page(_PAGE) for variant in _FILE_VARIANTS)


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_names_no_unknown_variable(name: str) -> None:
    known = {*_control_plane(), *_agent(), *_client(), *_FILE_VARIANTS}
    if name == _PAGE:
        known.add("TURNFLEET_REDIS")  # the wrong one whose refusal is shown
    assert set(_VARIABLE.findall(page(name).replace("TURNFLEET_AGENT_`", ""))) - known == set()
