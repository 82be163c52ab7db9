"""The doctor's page names every finding there is, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from agents.doctor.checks import checks
from controlplane.wire.findings import State
from tests.agents.places import make_settings
from tests.docs.pages import page, rows

_PAGE = "docs/relay-host.md"


def test_every_finding_is_on_the_page(tmp_path: Path) -> None:
    names = [name for row in rows(page(_PAGE), under="Findings") for name in row.first_words]
    # Mistakes in settings are found before there are checks, and the clock is the control plane's.
    assert sorted(names) == sorted({"settings", "clock", *(one.name for one in checks(make_settings(tmp_path)))})


def test_every_state_is_on_the_page() -> None:
    documented = {name for row in rows(page(_PAGE), under="The doctor") for name in row.first_words}
    assert set(get_args(State)) <= documented
