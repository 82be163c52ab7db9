"""What a credential is expected to bring."""

from __future__ import annotations

import pytest

from controlplane.fleet.conversion import Conversion, Counts, Rates

NO_RATES = Rates()


def counts(issued: float, relaying: float, allocating: float = 1.0) -> Counts:
    return Counts(issued=issued, relayed=issued * relaying, allocations=issued * allocating)


def test_without_any_experience_the_priors_hold() -> None:
    weight = Conversion().weight("anybody")
    assert [weight.bits_per_second, weight.allocations] == pytest.approx([0.3e6, 1.0])


@pytest.mark.parametrize("truth", [0.15, 0.3, 1.0])
@pytest.mark.parametrize("wrong", [0.02, 1.0])
def test_a_wrong_prior_is_within_a_tenth_after_five_minutes(truth: float, wrong: float) -> None:
    """The fleet was learned as `wrong` for an hour, 20 credentials a second; then a new project converts as `truth`."""
    learned = Conversion()
    for minute in range(60):
        learned.learn({"old": counts(1200, wrong)}, NO_RATES, at=60.0 * minute)
    for step in range(20):
        learned.learn({"old": counts(300, wrong), "new": counts(300, truth)}, NO_RATES, at=3600.0 + 15 * step)
    assert learned.weight("new").bits_per_second == pytest.approx(truth * 2e6, rel=0.1)
    assert learned.weight("old").bits_per_second == pytest.approx(wrong * 2e6, rel=0.1)


def test_the_fleets_mean_from_a_wrong_prior_within_five_minutes() -> None:
    learned = Conversion()
    for step in range(20):
        learned.learn({"only": counts(1500, 0.6)}, NO_RATES, at=15.0 * (step + 1))
    assert learned.weight("somebody else").bits_per_second == pytest.approx(0.6 * 2e6, rel=0.1)


def test_a_few_credentials_of_a_project_say_little() -> None:
    learned = Conversion()
    learned.learn({"big": counts(10_000, 0.15), "small": counts(5, 1.0)}, NO_RATES, at=60.0)
    assert learned.weight("small").bits_per_second == pytest.approx((5 + 50 * 0.15) / 55 * 2e6, rel=0.02)


def test_what_may_only_relay_relays() -> None:
    assert Conversion().weight("anybody", forced_relay=True).bits_per_second == pytest.approx(2e6)


def test_nobody_counts_for_nothing() -> None:
    learned = Conversion()
    for minute in range(60):
        learned.learn({"idle": counts(100_000, 0.0, 0.0)}, NO_RATES, at=60.0 * minute)
    weight = learned.weight("idle")
    assert weight.bits_per_second == pytest.approx(0.02 * 2e6)
    assert weight.allocations == pytest.approx(0.02)


def test_rates_are_learned() -> None:
    learned = Conversion()
    learned.learn({}, Rates(bits_per_second=4e6 * 950, sessions=950), at=60.0)
    assert learned.weight(None, forced_relay=True).bits_per_second == pytest.approx(3.9e6)


def test_a_project_that_is_gone_is_forgotten() -> None:
    learned = Conversion()
    learned.learn({"gone": counts(100, 1.0)}, NO_RATES, at=60.0)
    learned.learn({}, NO_RATES, at=60.0 + 10 * 600)
    assert learned.projects == {}
