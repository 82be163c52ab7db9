"""Every metric is documented with its type and labels, and none is named that does not exist."""

from __future__ import annotations

import re

import pytest

from controlplane.telemetry.metrics import Metrics
from tests.docs.pages import inline_code, page, pages, rows
from tests.exported_metrics import Exported, of_agent, of_control_plane

_PAGE = "docs/reference/metrics.md"
_NAMED = re.compile(r"\bturnfleet_[a-z0-9_]+")


def test_every_metric_of_the_registry_is_looked_at() -> None:
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in Metrics().registry.collect()}
    assert names == set(of_control_plane())
    assert names


@pytest.mark.parametrize(
    ("heading", "known"), [("Metrics", of_control_plane()), ("Agent metrics", of_agent())], ids=["control plane", "agent"]
)
def test_names_types_and_labels_are_the_code_s(heading: str, known: Exported) -> None:
    table = rows(page(_PAGE), under=heading)
    documented = {row.cells[0].strip("`"): (row.cells[1], frozenset(inline_code(row.cells[2]))) for row in table}
    assert len(documented) == len(table), "a metric is documented twice"
    assert documented == known
    assert [row.cells[0] for row in table if not row.cells[3]] == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_names_no_metric_that_does_not_exist(name: str) -> None:
    known = of_control_plane() | of_agent()
    parts = {f"{each}_{part}" for each, (kind, _) in known.items() if kind == "histogram" for part in ("bucket", "count", "sum")}
    # The prefix that a command greps for is no name.
    named = {each for each in _NAMED.findall(page(name)) if not any(other.startswith(each + "_") for other in known)}
    assert named - set(known) - parts == set()
