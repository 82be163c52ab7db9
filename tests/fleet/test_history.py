"""A minute of a node's and a region's life, summed up."""

from __future__ import annotations

import pytest

from controlplane.fleet.history import Minute, NodeMinute, RegionMinute
from controlplane.fleet.model import Health, Intent
from controlplane.fleet.node_state import NodeState
from controlplane.fleet.policy import Policy
from controlplane.fleet.view import FleetView
from tests.builders import AT, failed_probe, make_load, make_node, make_record, make_region, make_report

FRESH = 12.0


def state(
    *, age: float = 0.0, intent: Intent = Intent.ACTIVE, cpu: float = 0.0, node_id: str = "node-1", **report: object
) -> NodeState:
    view = FleetView(policy=Policy())
    node = make_node(node_id, intent=intent)
    view.set_directory([make_region()], [node])
    load = make_load(receive_bits_per_second=100e6, transmit_bits_per_second=80e6, allocations=10, cpu_ratio=cpu)
    view.put_record(node_id, make_record(report=make_report(**{"load": load, **report})), received=100.0)
    view.rebuild(now=100.0 + age, wall=AT)
    return view.state(node, now=100.0 + age)


def test_means_and_peaks_are_of_the_fresh_reports() -> None:
    minute = NodeMinute()
    for cpu in (0.1, 0.3):
        minute.add(state(cpu=cpu), fresh_seconds=FRESH)
    minute.add(state(cpu=0.9, age=30), fresh_seconds=FRESH)
    means = minute.means
    assert means is not None
    assert (minute.ticks, minute.reports) == (3, 2)
    assert means.cpu_ratio == pytest.approx(0.2)
    assert (means.receive_bits_per_second, means.transmit_bits_per_second, means.allocations) == (100e6, 80e6, 10)
    assert means.memory_ratio == pytest.approx(0.1)
    assert (minute.max_cpu_ratio, minute.max_bits_per_second, minute.max_allocations) == (0.3, 100e6, 10)
    assert minute.max_utilisation >= means.utilisation > 0


def test_a_silent_node_carries_what_is_not_known_and_no_zero() -> None:
    minute = NodeMinute()
    minute.add(state(age=60), fresh_seconds=FRESH)
    assert minute.means is None
    assert (minute.health, minute.eligible_ratio) == (Health.DOWN, 0)


def test_the_worst_health_stays_with_its_reason_and_the_last_intent() -> None:
    minute = NodeMinute()
    minute.add(state(), fresh_seconds=FRESH)
    minute.add(state(probe=failed_probe()), fresh_seconds=FRESH)
    minute.add(state(intent=Intent.CORDONED), fresh_seconds=FRESH)
    assert (minute.health, minute.health_reason, minute.intent) == ("down", "probe_failed", "cordoned")
    assert minute.eligible_ratio == pytest.approx(1 / 3)


def test_a_region_is_the_sum_of_its_nodes() -> None:
    minute = RegionMinute()
    minute.add([state(node_id="node-1"), state(node_id="node-2")], operational=True, fresh_seconds=FRESH)
    minute.add([state(node_id="node-1"), state(node_id="node-2", age=60)], operational=True, fresh_seconds=FRESH)
    minute.add([], operational=False, fresh_seconds=FRESH)
    assert (minute.ticks, minute.operational_ticks, minute.filled_ticks) == (3, 2, 2)
    assert (minute.nodes, minute.up_nodes, minute.eligible_nodes, minute.min_eligible_nodes) == (4, 3, 3, 0)
    assert (minute.receive_bits_per_second, minute.max_bits_per_second, minute.max_allocations) == (300e6, 200e6, 20)


def test_a_minute_holds_everybody() -> None:
    minute = Minute()
    minute.add_region("eu-central", [state(node_id="node-1"), state(node_id="node-2")], operational=True, fresh_seconds=FRESH)
    minute.add_region("us-east", [], operational=False, fresh_seconds=FRESH)
    assert set(minute.nodes) == {"node-1", "node-2"}
    assert minute.regions["us-east"].nodes == 0
