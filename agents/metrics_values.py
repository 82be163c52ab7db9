"""The values of the agent's metrics, from the parts that have them anyway. Nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass

from agents import AGENT_VERSION
from agents.coturn.certificate import Certificate
from agents.coturn.supervisor import Supervisor
from agents.metrics import Sample
from agents.metrics_heartbeats import Heartbeats
from agents.node import Node
from agents.prober import Prober
from agents.settings import AgentSettings
from agents.usage.room import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: AgentSettings
    node: Node
    supervisor: Supervisor
    prober: Prober
    usage: Usage
    heartbeats: Heartbeats
    certificate: Certificate


def values(parts: Parts) -> dict[str, list[Sample]]:
    """By the metric's name. What is not known has no sample: absent is not zero."""
    found = {**_of_process(parts), **_of_load(parts), **_of_link(parts), **_of_probes(parts)}
    return {f"turnfleet_agent_{name}": samples for name, samples in found.items()}


def _of_process(parts: Parts) -> dict[str, list[Sample]]:
    supervisor, who = parts.supervisor, parts.node.identity
    running = supervisor.state == "running"
    found: dict[str, list[Sample]] = {
        "build_info": [((AGENT_VERSION,), 1)],
        "node_info": [((who.node_id, parts.settings.name, who.region), 1)],
        "coturn_up": _one(running),
        "coturn_restarts_total": _one(max(0, supervisor.lives - 1)),
        "secret_versions": _one(len(parts.node.local_state().secrets)),
    }
    if running and supervisor.version is not None:
        found["coturn_info"] = [((supervisor.version,), 1)]
    if (ends_at := parts.certificate.ends_at) is not None:
        found["certificate_expiry_timestamp_seconds"] = _one(ends_at.timestamp())
    return found


def _of_load(parts: Parts) -> dict[str, list[Sample]]:
    usage, capacity = parts.usage, parts.node.capacity
    found: dict[str, list[Sample]] = {
        "allocations_limit": _one(capacity.allocations),
        "capacity_bytes_per_second": _one(capacity.bits_per_second / 8),
        "allocations_started_total": _one(usage.started),
        "allocations_ended_total": [((reason,), count) for reason, count in usage.enforcer.cuts.items()],
        "usage_waiting": _one(usage.sender.waiting),
        "denied_credentials": _one(usage.denied),
    }
    load, counters = parts.node.load, parts.node.counters
    if load is not None and counters is not None:
        found |= {
            "allocations": _one(load.allocations),
            "cpu_ratio": _one(load.cpu_ratio),
            "memory_ratio": _one(load.memory_ratio),
            "coturn_open_files": _one(load.open_files),
            "coturn_open_files_limit": _one(load.open_files_limit),
            "receive_bytes_total": _one(counters.receive_bytes),
            "transmit_bytes_total": _one(counters.transmit_bytes),
            "receive_packets_total": _one(counters.receive_packets),
            "transmit_packets_total": _one(counters.transmit_packets),
        }
    return found


def _of_link(parts: Parts) -> dict[str, list[Sample]]:
    heartbeats = parts.heartbeats
    found: dict[str, list[Sample]] = {
        "heartbeats_total": [((outcome,), count) for outcome, count in heartbeats.by_outcome.items()],
        "heartbeat_age_seconds": _one(heartbeats.age_seconds),
        "heartbeat_interval_seconds": _one(parts.node.interval_seconds),
    }
    if heartbeats.clock_offset_seconds is not None:
        found["clock_offset_seconds"] = _one(heartbeats.clock_offset_seconds)
    return found


def _of_probes(parts: Parts) -> dict[str, list[Sample]]:
    results = parts.prober.results()
    return {
        "probe_success": [((one.transport,), one.ok) for one in results],
        "probe_duration_seconds": [
            ((one.transport,), one.milliseconds / 1000) for one in results if one.ok and one.milliseconds is not None
        ],
    }


def _one(value: float) -> list[Sample]:
    return [((), value)]
