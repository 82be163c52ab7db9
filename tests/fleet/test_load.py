"""Safe capacity and utilisation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
