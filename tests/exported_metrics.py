"""Every metric that a turnfleet exports, as it is scraped: name → type and labels."""

from __future__ import annotations

from typing import Any

from agents.metrics import METRICS
from controlplane.telemetry.metrics import Metrics

Exported = dict[str, tuple[str, frozenset[str]]]


def of_control_plane() -> Exported:
    collectors: list[Any] = [
        each for each in vars(Metrics()).values() if hasattr(each, "describe") and hasattr(each, "_labelnames")
    ]
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (family.type, frozenset(collector._labelnames))
        for collector in collectors
        for family in collector.describe()
    }


def of_agent() -> Exported:
    return {one.name: (one.kind, frozenset(one.labels)) for one in METRICS}
