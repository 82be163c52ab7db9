"""One replica's side of a rate limit, without clock or store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.token_bucket import ALONE_AFTER_SECONDS, BURST_SECONDS, LeasedBucket, burst_of


def bucket_of(limit: int, *, replicas: int = 1) -> LeasedBucket:
    return LeasedBucket(limit=limit, replicas=replicas, settled_at=0.0)


def taken(bucket: LeasedBucket, now: float, tries: int = 10_000) -> int:
    return sum(bucket.take(now) for _ in range(tries))


@pytest.mark.parametrize(("limit", "replicas"), [(1, 1), (1, 16), (5, 3), (200, 3), (1_000_000, 2)])
def test_the_first_request_of_an_idle_limit_passes(limit: int, replicas: int) -> None:
    assert bucket_of(limit, replicas=replicas).take(0.0)


def test_before_the_first_exchange_a_replica_grants_its_share_of_the_burst() -> None:
    assert taken(bucket_of(200, replicas=4), 0.0) == 200 * BURST_SECONDS / 4


def test_what_was_granted_without_a_lease_is_owed_and_paid_once() -> None:
    bucket = bucket_of(200)
    assert taken(bucket, 0.0, 30) == 30
    owed, want = bucket.ask()
    assert owed == 30
    assert bucket.take(0.05)  # while the exchange is under way
    bucket.settle(owed=owed, granted=want, level=33.0, replicas=1, now=0.1)
    assert bucket.owed == 1
    assert bucket.leased == want


def test_a_lease_is_spent_before_credit() -> None:
    bucket = bucket_of(200)
    bucket.settle(owed=0, granted=5, level=50.0, replicas=1, now=0.0)
    assert taken(bucket, 0.0, 5) == 5
    assert (bucket.leased, bucket.owed) == (0, 0)
    bucket.take(0.0)
    assert bucket.owed == 1


def test_an_empty_shared_bucket_gives_no_credit() -> None:
    bucket = bucket_of(200, replicas=3)
    bucket.settle(owed=0, granted=0, level=0.9, replicas=3, now=0.0)
    assert taken(bucket, ALONE_AFTER_SECONDS) == 0


@pytest.mark.parametrize(("limit", "replicas"), [(200, 3), (5, 3), (1, 2), (3000, 16)])
def test_alone_a_replica_grants_its_share_of_the_limit(limit: int, replicas: int) -> None:
    bucket = bucket_of(limit, replicas=replicas)
    bucket.settle(owed=0, granted=0, level=0.0, replicas=replicas, now=0.0)
    granted = sum(taken(bucket, ALONE_AFTER_SECONDS + step / 100, 100) for step in range(3001))
    assert granted == pytest.approx(30 * limit / replicas, abs=1)


def test_alone_it_saves_up_no_more_than_its_share_of_a_burst() -> None:
    bucket = bucket_of(200, replicas=4)
    assert taken(bucket, 1000.0) == 25


def test_after_a_long_time_alone_it_owes_no_more_than_its_share_of_a_burst() -> None:
    bucket = bucket_of(200, replicas=4)
    for second in range(100):
        taken(bucket, float(second), 100)
    assert bucket.ask()[0] == 25


def test_a_lease_follows_demand_up_at_once_and_down_to_nothing() -> None:
    bucket = bucket_of(1000)
    taken(bucket, 0.0, 100)
    owed, want = bucket.ask()
    assert want == 125
    bucket.settle(owed=owed, granted=want, level=100.0, replicas=1, now=0.1)
    leases = []
    for step in range(60):
        _, want = bucket.ask()
        bucket.settle(owed=0, granted=max(0, want), level=300.0, replicas=1, now=0.1 * step)
        leases.append(bucket.leased)
    assert leases == sorted(leases, reverse=True)
    assert leases[-1] == 0
    assert bucket.idle


def test_no_more_than_a_burst_is_leased_whatever_the_demand() -> None:
    bucket = bucket_of(200)
    taken(bucket, 0.0, 100_000)
    assert bucket.ask()[1] == burst_of(200)


def test_a_bucket_that_wakes_knows_that_the_shared_one_has_filled_meanwhile() -> None:
    bucket = bucket_of(2, replicas=8)
    bucket.settle(owed=0, granted=0, level=-1.0, replicas=8, now=0.0)
    bucket.wake(0.5)
    assert not bucket.take(0.5)
    bucket.wake(1.0)
    assert bucket.take(1.0)


def test_a_lower_limit_counts_at_once() -> None:
    bucket = bucket_of(10_000)
    bucket.settle(owed=0, granted=500, level=4000.0, replicas=1, now=0.0)
    bucket.change_limit(4)
    assert bucket.remaining == 4
    assert taken(bucket, 0.0) == 4, "a burst that was leased, and one more on credit"


def test_what_a_client_is_told() -> None:
    bucket = bucket_of(200)
    bucket.take(0.0)
    assert (bucket.remaining, bucket.wait_seconds) == (99, 1)
    slow = bucket_of(1)
    slow.settle(owed=0, granted=0, level=-2.5, replicas=3, now=0.0)
    assert (slow.remaining, slow.wait_seconds) == (0, 4)


@given(
    limit=st.integers(1, 1_000_000),
    replicas=st.integers(1, 64),
    steps=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50), st.integers(0, 100), st.floats(-100, 1e6)), max_size=30),
)
def test_nothing_is_ever_negative_and_every_grant_is_leased_or_owed(
    limit: int, replicas: int, steps: list[tuple[float, int, int, float]]
) -> None:
    bucket, now = bucket_of(limit, replicas=replicas), 0.0
    for pause, tries, granted, level in steps:
        now += pause
        leased, owed = bucket.leased, bucket.owed
        passed = taken(bucket, now, tries)
        assert passed == (leased - bucket.leased) + (bucket.owed - owed)
        paid, want = bucket.ask()
        assert 0 <= paid <= bucket.owed
        bucket.settle(owed=paid, granted=min(granted, max(0, want)), level=min(level, burst_of(limit)), replicas=replicas, now=now)
        assert bucket.leased >= 0
        assert bucket.owed == 0
        assert 0 <= bucket.remaining <= limit
        assert bucket.wait_seconds >= 1
