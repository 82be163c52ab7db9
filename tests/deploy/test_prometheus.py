"""The alert rules, really run by promtool; and nothing in them that no process exports, or that nobody explains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from agents.metrics import METRICS, render
from controlplane.fleet.model import Health
from controlplane.telemetry.metrics import Metrics
from controlplane.wire.problem import PROBLEMS
from tests.deploy.observed import PROMETHEUS, RULES, TESTS, faults, named, promtool, selected
from tests.docs.pages import anchors, headings, page, section

RUNBOOKS = "docs/runbooks.md"
_TEMPLATE_LABEL = re.compile(r"\{\{\s*\$labels\.(\w+)")


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def alerts() -> dict[str, dict[str, Any]]:
    found = [rule for group in loaded(RULES)["groups"] for rule in group["rules"]]
    by_name = {rule["alert"]: rule for rule in found}
    assert len(by_name) == len(found), "two alerts have one name"
    return by_name


ALERTS = alerts()


def test_prometheus_takes_the_rules_and_the_example_of_a_configuration() -> None:
    promtool("check", "rules", RULES.name)
    promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_and_is_silent_when_it_should() -> None:
    promtool("test", "rules", TESTS.name)


def test_every_alert_is_tested_silent_and_firing() -> None:
    silent: set[str] = set()
    firing: set[str] = set()
    for test in loaded(TESTS)["tests"]:
        for case in test["alert_rule_test"]:
            (firing if case["exp_alerts"] else silent).add(case["alertname"])
    assert silent == firing == set(ALERTS)


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_asks_for_what_is_exported(name: str) -> None:
    rule = ALERTS[name]
    used = set(_TEMPLATE_LABEL.findall(str(rule["annotations"])))
    assert named(rule["expr"]), "no metric is found in it"
    assert faults(rule["expr"], also_used=used) == []


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_how_grave_what_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert name.startswith("Turnfleet")
    assert rule["labels"]["severity"] in {"critical", "warning"}
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description", "runbook"}
    assert texts["summary"].endswith(".")
    assert texts["description"].endswith(".")
    path, _, anchor = texts["runbook"].partition("#")
    assert path == RUNBOOKS
    assert anchor == name.lower()
    assert anchor in anchors(page(RUNBOOKS))


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    written = {heading for heading in headings(page(RUNBOOKS)) if heading.startswith("Turnfleet")}
    assert written == set(ALERTS)
    for name in ALERTS:
        text = section(page(RUNBOOKS), name)
        assert "**Means:**" in text, name
        assert "**Do:**" in text or "**Look and do:**" in text, name


def test_the_values_that_are_selected_exist() -> None:
    wanted = {(label, each) for rule in ALERTS.values() for _, label, value in selected(rule["expr"]) for each in value.split("|")}
    jobs = {scrape["job_name"] for scrape in loaded(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    assert {value for label, value in wanted if label == "code"} <= set(PROBLEMS)
    assert {value for label, value in wanted if label == "health"} <= {each.value for each in Health}
    assert {value for label, value in wanted if label == "job"} <= jobs


def test_the_example_reads_the_rules() -> None:
    assert loaded(PROMETHEUS / "prometheus.yml")["rule_files"] == [RULES.name]


def test_promtool_finds_the_names_of_metrics_conventional() -> None:
    """Both lists, as they are scraped."""
    promtool("check", "metrics", given=generate_latest(Metrics().registry).decode())
    promtool("check", "metrics", given=render({one.name: [(one.labels, 1)] for one in METRICS}))


def test_what_is_exported_by_nobody_is_found() -> None:
    assert faults("turnfleet_nodes_typo == 1") == ["no metric turnfleet_nodes_typo"]
    assert faults('turnfleet_nodes{colour="red"} == 1') == ["turnfleet_nodes has no label colour"]
    assert faults("sum by (colour) (turnfleet_nodes)") == ["no metric has the label colour"]
    assert faults("turnfleet_nodes", also_used={"colour"}) == ["no metric has the label colour"]
    assert faults('sum by (le) (rate(turnfleet_issue_seconds_bucket{job="x"}[5m]))') == []
