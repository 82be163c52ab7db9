"""The dashboard: whole, and nothing in it that no process exports."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.observed import DASHBOARD, faults, named, promtool

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
QUERIES: list[dict[str, Any]] = [target for panel in PANELS for target in panel.get("targets", ())]
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@pytest.mark.parametrize("target", QUERIES, ids=[query["expr"][:60] for query in QUERIES])
def test_a_query_asks_for_what_is_exported(target: dict[str, Any]) -> None:
    assert named(target["expr"]), "no metric is found in it"
    assert faults(target["expr"], also_used=set(_LEGEND_LABEL.findall(target["legendFormat"]))) == []


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query["expr"]} for number, query in enumerate(QUERIES)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_data_source_is_asked_for_and_used_everywhere() -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert faults(re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", variables["region"]["definition"])) == []
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == SOURCE, panel["title"]
            assert all(target["datasource"] == SOURCE for target in panel["targets"]), panel["title"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([panel.get("targets") for panel in PANELS])))
    assert used == set(variables)


def test_panels_have_ids_and_places_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        apart_across = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_down = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_across or apart_down, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in PANELS)


def test_it_has_what_it_promises() -> None:
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == [
        "Fleet",
        "Regions",
        "Credentials",
        "Stores and journal",
        "Jobs, usage and webhooks",
        "Agents",
        "From outside, and rolls",
    ]
    assert len(QUERIES) > 40
