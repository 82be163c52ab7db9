"""Safe capacity, utilisation, and placements in flight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.in_flight import Placements, unseen_share
from controlplane.fleet.load import safe_capacities, safe_capacity, utilisation
from controlplane.fleet.model import Capacity
from controlplane.fleet.policy import Policy
from tests.builders import make_load

POLICY = Policy()


@pytest.mark.parametrize(("capacity", "safe"), [(250, 193), (500, 416), (1000, 877), (2000, 1823), (5000, 4716)])
def test_safe_capacity_of_the_reference_nodes(capacity: float, safe: float) -> None:
    assert safe_capacity(capacity, burst=4.287, deviations=2.0) == pytest.approx(safe, abs=0.6)


@given(st.floats(1e6, 1e11), st.floats(1e5, 1e7))
def test_mean_plus_two_deviations_just_fits(capacity: float, burst: float) -> None:
    safe = safe_capacity(capacity, burst=burst, deviations=2.0)
    assert safe + 2.0 * (burst * safe) ** 0.5 == pytest.approx(capacity, rel=1e-6)


def test_the_fullest_resource_counts() -> None:
    safe = safe_capacities(Capacity(bits_per_second=1e9, allocations=1000, source="stated", packets_per_second=1e6), policy=POLICY)
    assert utilisation(make_load(cpu_ratio=0.85), safe) == pytest.approx(1.0)
    assert utilisation(make_load(transmit_bits_per_second=safe.bits_per_second / 2), safe) == pytest.approx(0.5)
    assert utilisation(make_load(allocations=round(safe.allocations)), safe) == pytest.approx(1.0, abs=0.01)
    assert utilisation(make_load(receive_packets_per_second=safe.packets_per_second), safe) == pytest.approx(1.0)
    assert utilisation(make_load(), safe, in_flight_bits=safe.bits_per_second) == pytest.approx(1.0)


def test_packets_do_not_limit_a_node_that_states_none() -> None:
    safe = safe_capacities(Capacity(bits_per_second=1e9, allocations=1000, source="stated"), policy=POLICY)
    assert utilisation(make_load(receive_packets_per_second=1e12), safe) == 0.0


def test_the_generation_weights_of_two_second_reports() -> None:
    weights = [unseen_share((k - 1) * 2.0, k * 2.0) for k in range(1, 8)]
    assert weights == pytest.approx([0.93, 0.72, 0.49, 0.35, 0.27, 0.04, 0.0], abs=0.01)


@given(st.floats(0, 30), st.floats(0, 30), st.floats(0, 30))
def test_what_is_older_is_seen_more(start: float, width: float, more: float) -> None:
    share = unseen_share(start, start + width)
    assert 0.0 <= share <= 1.0
    assert unseen_share(start + more, start + width + more) <= share + 1e-6


def test_placements_count_in_full_until_the_node_reports() -> None:
    placements = Placements()
    placements.place(10.0, 5.0, 1.0)
    placements.place(11.0, 5.0, 1.0)
    assert placements.in_flight(20.0, last_report_at=9.0) == (10.0, 2.0)


def test_placements_are_retired_by_the_nodes_own_reports() -> None:
    placements = Placements()
    placements.place(10.0, 10.0, 1.0)
    shares = []
    for report_at in (12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0):
        placements.reported(report_at)
        shares.append(placements.in_flight(report_at, last_report_at=report_at)[0])
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 9.0
    assert shares[-1] == 0.0


def test_what_a_silent_node_was_given_is_forgotten_after_a_minute() -> None:
    placements = Placements()
    placements.place(10.0, 10.0, 1.0)
    assert placements.in_flight(69.0, last_report_at=9.0)[0] == 10.0
    assert placements.in_flight(71.0, last_report_at=9.0)[0] == 0.0
