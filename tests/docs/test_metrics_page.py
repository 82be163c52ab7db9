"""Every metric is documented with its type and labels, and none is named that does not exist."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controlplane.telemetry.metrics import Metrics
from tests.docs.pages import inline_code, page, pages, rows

_PAGE = "docs/reference/metrics.md"
_NAMED = re.compile(r"\bturnfleet_[a-z0-9_]+")


def _known() -> dict[str, tuple[str, frozenset[str]]]:
    """Name as it is scraped → type and labels."""
    collectors: list[Any] = [
        each for each in vars(Metrics()).values() if hasattr(each, "describe") and hasattr(each, "_labelnames")
    ]
    known: dict[str, tuple[str, frozenset[str]]] = {}
    for collector in collectors:
        for family in collector.describe():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            known[name] = (family.type, frozenset(collector._labelnames))
    return known


def test_every_metric_of_the_registry_is_looked_at() -> None:
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in Metrics().registry.collect()}
    assert names == set(_known())
    assert names


def test_names_types_and_labels_are_the_code_s() -> None:
    table = rows(page(_PAGE), under="Metrics")
    documented = {row.cells[0].strip("`"): (row.cells[1], frozenset(inline_code(row.cells[2]))) for row in table}
    assert len(documented) == len(table), "a metric is documented twice"
    assert documented == _known()
    assert [row.cells[0] for row in table if not row.cells[3]] == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_names_no_metric_that_does_not_exist(name: str) -> None:
    known = _known()
    parts = {f"{each}_{part}" for each, (kind, _) in known.items() if kind == "histogram" for part in ("bucket", "count", "sum")}
    # The prefix that a command greps for is no name.
    named = {each for each in _NAMED.findall(page(name)) if not any(other.startswith(each + "_") for other in known)}
    assert named - set(known) - parts == set()
