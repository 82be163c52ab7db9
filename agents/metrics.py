"""Every metric of the agent, in one place, and the page that Prometheus reads: its text format 0.0.4.

Made by hand, for a relay host installs no metrics library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`name` is what is scraped. The values of labels come from closed lists, or are this node's own."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    meaning: str


Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the value."""


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"turnfleet_agent_{name}", kind="gauge", labels=labels, meaning=meaning)


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"turnfleet_agent_{name}", kind="counter", labels=labels, meaning=meaning)


METRICS = (
    _gauge("build_info", "Always 1, with the version of the agent.", "version"),
    _gauge("node_info", "Always 1, with what the fleet knows this node by.", "node_id", "name", "region"),
    _gauge("coturn_info", "Always 1, with the version of coturn that runs.", "version"),
    _gauge("coturn_up", "1 while coturn runs and answers on its command line."),
    _counter("coturn_restarts_total", "Coturns that began after the first one that this run of the agent has seen."),
    _gauge("coturn_open_files", "File descriptors that coturn holds; 0 when not known."),
    _gauge("coturn_open_files_limit", "How many it may hold; 0 when not known."),
    _gauge("allocations", "Live allocations, by coturn's own count."),
    _gauge("allocations_limit", "Allocations that the node can carry."),
    _counter("allocations_started_total", "Allocations that clients began, the agent's own probes left out."),
    _counter("allocations_ended_total", "Allocations that the agent had coturn end, by why.", "reason"),
    _counter("receive_bytes_total", "Bytes received on the relay's interface."),
    _counter("transmit_bytes_total", "Bytes sent on the relay's interface."),
    _counter("receive_packets_total", "Packets received on the relay's interface."),
    _counter("transmit_packets_total", "Packets sent on the relay's interface."),
    _gauge("capacity_bytes_per_second", "What the node can carry in each direction."),
    _gauge("cpu_ratio", "Busy share of all cores of the host, smoothed over 15 seconds."),
    _gauge("memory_ratio", "Share of the host's memory that is in use."),
    _gauge("secret_versions", "Secrets in coturn's database; without any nobody can relay."),
    _counter("heartbeats_total", "Heartbeats, by outcome; one retry is part of the same heartbeat.", "outcome"),
    _gauge("heartbeat_age_seconds", "Time since a heartbeat was last answered, or since the agent began."),
    _gauge("heartbeat_interval_seconds", "How often the control plane wants a heartbeat."),
    _gauge("clock_offset_seconds", "This clock minus the control plane's, at the last answered heartbeat."),
    _gauge("probe_success", "1 while the latest probe through that listener went well.", "transport"),
    _gauge("probe_duration_seconds", "What the latest good probe of that listener took: an allocation and one echo.", "transport"),
    _gauge("usage_waiting", "Allocations whose latest sums the control plane has not confirmed."),
    _gauge("denied_credentials", "Credentials that the node keeps from relaying."),
    _gauge("certificate_expiry_timestamp_seconds", "When the certificate of the TLS listener ends, in Unix seconds."),
)
_KNOWN = {one.name: one for one in METRICS}


def render(values: Mapping[str, Iterable[Sample]]) -> str:
    """The page, in the order of METRICS. A name or a number of labels that is not in the list is a KeyError or a ValueError."""
    for name in values:
        _KNOWN[name]
    return "".join(line for one in METRICS if one.name in values for line in _lines(one, values[one.name]))


def _lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} {metric.kind}\n"
    for labels, value in samples:
        yield f"{metric.name}{_labels(metric.labels, labels)} {_number(value)}\n"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Prometheus spells the infinities its own way."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
