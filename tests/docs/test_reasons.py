"""Every reason of a decision is explained on the page of concepts, and only those."""

from __future__ import annotations

from enum import StrEnum

import pytest

from controlplane.fleet.model import Health, HealthReason, Ineligibility, Intent
from controlplane.fleet.outside import Standing
from controlplane.fleet.roll import RollState, RollStep
from controlplane.fleet.rotation import VersionState
from controlplane.fleet.selection import NodeReason, Reason, Refusal
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.problem import PROBLEMS
from tests.docs.pages import is_documented, page, rows, section

_PAGE = "docs/concepts.md"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("Health", Health),
        ("Health reasons", HealthReason),
        ("Ineligibility reasons", Ineligibility),
        ("Selection reasons", Reason),
        ("Node reasons", NodeReason),
        ("States of a secret version", VersionState),
        ("States of a roll", RollState),
        ("Steps of a node", RollStep),
        ("Relay failures", RelayFailure),
        ("Standings", Standing),
    ],
)
def test_the_table_has_every_value_and_no_other(heading: str, kind: type[StrEnum]) -> None:
    table = rows(page(_PAGE), under=heading)
    assert sorted(word for row in table for word in row.first_words) == sorted(kind)
    assert [row.cells[0] for row in table if not all(row.cells)] == []


def test_a_health_reason_is_said_of_a_health_that_exists() -> None:
    for row in rows(page(_PAGE), under="Health reasons"):
        for health in row.cells[1].replace(" then", "").split(","):
            assert health.strip() in set(Health), row.cells[0]


def test_every_intent_is_explained() -> None:
    assert [intent for intent in Intent if not is_documented(intent, section(page(_PAGE), "Intent"))] == []


def test_every_refusal_is_named_and_is_a_problem() -> None:
    assert [refusal for refusal in Refusal if not is_documented(refusal, page(_PAGE))] == []
    assert {refusal.value for refusal in Refusal} <= set(PROBLEMS)
