"""What a look from outside amounts to."""

from __future__ import annotations

import pytest

from controlplane.fleet.model import Intent
from controlplane.fleet.outside import Sight
from controlplane.flows.outside_news import as_seen
from controlplane.flows.probe_node import NodeProbed
from controlplane.wire.probe_api import RelayFailure, UrlProbe
from tests.builders import make_node


def probed(failure: RelayFailure | None, *, transport: str = "udp", unsigned: bool = False, trusting: bool = True) -> NodeProbed:
    listener = UrlProbe(
        url="turn:relay.example.org:3478",
        transport=transport,  # type: ignore[arg-type] # one of the three
        ok=failure is None,
        milliseconds=None,
        connect_milliseconds=None,
        allocate_milliseconds=None,
        round_trip_milliseconds=None,
        failure=failure,
        words=None,
    )
    return NodeProbed(listeners=(listener,), peers=None, unsigned=unsigned, withdrawn=False, trusting=trusting)


@pytest.mark.parametrize(
    ("failure", "sight"),
    [
        (None, Sight.RELAYS),
        (RelayFailure.NO_ANSWER, Sight.FAILS),
        (RelayFailure.DNS, Sight.FAILS),
        (RelayFailure.DNS_NO_ANSWER, Sight.NOT_SENT),
        (RelayFailure.NOT_SENT, Sight.NOT_SENT),
        (RelayFailure.UNAUTHORIZED, Sight.FAILS),
    ],
)
def test_what_fails_here_says_nothing_about_the_node(failure: RelayFailure | None, sight: Sight) -> None:
    (seen,) = as_seen(probed(failure), make_node())
    assert seen.sight is sight


def test_a_refusal_that_is_expected_is_none() -> None:
    (draining,) = as_seen(probed(RelayFailure.FORBIDDEN), make_node(intent=Intent.DRAINING))
    (unsigned,) = as_seen(probed(RelayFailure.UNAUTHORIZED, unsigned=True), make_node())
    assert draining.sight is unsigned.sight is Sight.REFUSES


def test_without_authorities_tls_cannot_be_judged() -> None:
    (tls,) = as_seen(probed(RelayFailure.TLS_FAILED, transport="tls", trusting=False), make_node())
    assert tls.sight is Sight.NOT_SENT


@pytest.mark.parametrize(
    ("failure", "transport", "trusting", "expected"),
    [
        (None, "udp", True, False),
        (RelayFailure.NO_ANSWER, "udp", True, False),
        (RelayFailure.DNS_NO_ANSWER, "udp", True, True),
        (RelayFailure.TLS_FAILED, "tls", True, False),
        (RelayFailure.TLS_FAILED, "tls", False, True),
    ],
)
def test_a_roll_and_the_rounds_agree_on_what_tells_nothing(
    failure: RelayFailure | None, transport: str, trusting: bool, expected: bool
) -> None:
    assert probed(failure, transport=transport, trusting=trusting).tells_nothing is expected
