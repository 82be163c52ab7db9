"""How much of a client's address is recorded."""

from __future__ import annotations

import pytest

from controlplane.fleet.address_privacy import kept_address


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("193.0.6.139", "193.0.6.0"),
        ("255.255.255.255", "255.255.255.0"),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:db8:85a3::"),
        ("::ffff:193.0.6.139", "193.0.6.0"),
        ("::1", "::"),
        ("fe80::1%eth0", "fe80::"),
        ("no address", None),
        (None, None),
    ],
)
def test_truncated(address: str | None, kept: str | None) -> None:
    assert kept_address(address, "truncate") == kept


@pytest.mark.parametrize("address", ["193.0.6.139", "2001:db8::1", None])
def test_kept_whole_or_not_at_all(address: str | None) -> None:
    assert kept_address(address, "keep") == address
    assert kept_address(address, "drop") is None


def test_a_policy_that_this_release_does_not_know_keeps_nothing() -> None:
    assert kept_address("193.0.6.139", "hash") is None
