"""What a Prometheus finds at a turnfleet, and what an expression asks of it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from deploy.local.layout import CHECKOUT
from tests.exported_metrics import of_agent, of_control_plane

PROMETHEUS = CHECKOUT / "deploy/prometheus"
RULES = PROMETHEUS / "turnfleet.rules.yml"
TESTS = PROMETHEUS / "turnfleet.rules.test.yml"
DASHBOARD = CHECKOUT / "deploy/grafana/turnfleet.json"

OF_TARGETS = {"job", "instance"}
"""Labels that Prometheus itself gives to what it reads."""

_NAME = re.compile(r"(?<![\w:])(?:turnfleet_\w+|up)(?![\w(])")
_SELECTOR = re.compile(r"(?<![\w:])(turnfleet_\w+|up)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def labels_of() -> dict[str, set[str]]:
    """Name of every series → its labels, without those of targets. A histogram has three series."""
    found: dict[str, set[str]] = {"up": set()}
    for name, (kind, labels) in (of_control_plane() | of_agent()).items():
        if kind == "histogram":
            found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": set(labels), f"{name}_count": set(labels)}
        else:
            found[name] = set(labels)
    return found


def named(expression: str) -> set[str]:
    """The series that an expression reads."""
    return set(_NAME.findall(_STRING.sub('""', expression)))


def selected(expression: str) -> list[tuple[str, str, str]]:
    """Series, label and wanted value of each matcher."""
    return [
        (series, label, value) for series, matchers in _SELECTOR.findall(expression) for label, value in _MATCHER.findall(matchers)
    ]


def grouped(expression: str) -> set[str]:
    """The labels that an expression groups or joins by."""
    return {label.strip() for listed in _GROUPING.findall(expression) for label in listed.split(",") if label.strip()}


def faults(expression: str, *, also_used: set[str] | None = None) -> list[str]:
    """What an expression asks for that nobody gives. `also_used` are labels in its legend or its alert's texts."""
    known, names = labels_of(), named(expression)
    found = [f"no metric {name}" for name in sorted(names - set(known))]
    found += [
        f"{series} has no label {label}"
        for series, label, _ in selected(expression)
        if series in known and label not in known[series] | OF_TARGETS
    ]
    there = OF_TARGETS.union(*(known.get(name, set()) for name in names))
    found += [f"no metric has the label {label}" for label in sorted((grouped(expression) | (also_used or set())) - there)]
    return found


def promtool(*arguments: str, given: str = "") -> None:
    """Runs it beside the rules; what it objects to is the failure."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; deploy/dev test installs it")
    ended = subprocess.run(
        [program, *arguments], cwd=PROMETHEUS, input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
