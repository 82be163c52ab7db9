"""Settings: one table, one sentence for each thing that is wrong with them."""

from __future__ import annotations

import base64
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.settings import TABLE, Settings, SettingsError, read_settings, variable

GOOD = {"TURNFLEET_DATABASE_URL": "postgresql://localhost/turnfleet"}
KEY = base64.b64encode(bytes(32)).decode()


def test_every_field_has_its_row_and_the_other_way_round() -> None:
    assert {field.name for field in dataclasses.fields(Settings)} == set(TABLE)
    for name, setting in TABLE.items():
        assert setting.meaning.endswith("."), name


def test_defaults_are_valid_and_only_the_database_must_be_given() -> None:
    settings = read_settings(GOOD)
    assert (settings.api_port, settings.realm, settings.trusted_proxies, settings.cors_origins) == (8080, "turnfleet", (), ())
    with pytest.raises(SettingsError, match="TURNFLEET_DATABASE_URL is not set"):
        read_settings({})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TURNFLEET_API_PORT", "http", "whole number from 1 to 65535"),
        ("TURNFLEET_API_PORT", "70000", "whole number"),
        ("TURNFLEET_MASTER_KEY", "short", "32 random bytes"),
        ("TURNFLEET_MASTER_KEY", base64.b64encode(bytes(16)).decode(), "32 random bytes"),
        ("TURNFLEET_LOG_LEVEL", "loud", "debug, info"),
        ("TURNFLEET_TRUSTED_PROXIES", "10.0.0.0/40", "CIDR"),
        ("TURNFLEET_API_PROT", "8080", "Did you mean TURNFLEET_API_PORT"),
        ("TURNFLEET_MASTER_KEY_FILE", "/nowhere/at/all", "cannot be read"),
        ("TURNFLEET_MASTER_KEY_PREVIOUS", "short", "PREVIOUS must be at least 32 random bytes"),
        ("TURNFLEET_MASTER_KEY_PREVIOUS_FILE", "/nowhere/at/all", "PREVIOUS_FILE: /nowhere/at/all cannot be read"),
    ],
)
def test_a_wrong_setting_is_named_in_a_sentence(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(GOOD | {name: value})


def test_the_master_key_may_come_from_a_file_and_never_prints(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    settings = read_settings(GOOD | {"TURNFLEET_MASTER_KEY_FILE": str(file), "TURNFLEET_MASTER_KEY_PREVIOUS_FILE": str(file)})
    assert settings.master_key.reveal() == settings.master_key_previous.reveal() == KEY
    assert KEY not in repr(settings)


def test_variables_of_the_agent_are_not_ours() -> None:
    read_settings(GOOD | {"TURNFLEET_AGENT_URL": "http://localhost"})


def test_every_field_is_read_from_its_variable() -> None:
    assert variable("journal_max_bytes") == "TURNFLEET_JOURNAL_MAX_BYTES"
    assert read_settings(GOOD | {"TURNFLEET_JOURNAL_MAX_BYTES": "1048576"}).journal_max_bytes == 1_048_576


@pytest.mark.parametrize("command", [["serve"], ["jobs"], ["admin", "migrate"], ["admin", "bootstrap"]])
def test_a_command_without_settings_ends_with_a_sentence_and_status_2(command: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "controlplane", *command], capture_output=True, text=True, check=False, env={"PATH": ""}
    )
    assert ended.returncode == 2
    assert "TURNFLEET_DATABASE_URL is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_the_server_extra_the_command_says_what_to_install() -> None:
    program = "import sys; sys.modules['typer'] = None; from controlplane.__main__ import run; run()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'turnfleet[server]'" in ended.stderr
    assert "Traceback" not in ended.stderr
