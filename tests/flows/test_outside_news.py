"""What a look from outside amounts to."""

from __future__ import annotations

import pytest

from controlplane.fleet.model import Intent
from controlplane.fleet.outside import Sight
from controlplane.flows.outside_news import as_seen
from controlplane.flows.probe_node import NodeProbed
from controlplane.wire.probe_api import RelayFailure, UrlProbe
from tests.builders import make_node


def probed(failure: RelayFailure | None, *, transport: str = "udp", unsigned: bool = False) -> NodeProbed:
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
    return NodeProbed(listeners=(listener,), peers=None, unsigned=unsigned, withdrawn=False)


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
    (seen,) = as_seen(probed(failure), make_node(), trusting=True, names_answered=False)
    assert seen.sight is sight


def test_a_name_that_alone_is_not_answered_is_its_own_fault() -> None:
    (seen,) = as_seen(probed(RelayFailure.DNS_NO_ANSWER), make_node(), trusting=True, names_answered=True)
    assert seen.sight is Sight.FAILS


def test_a_refusal_that_is_expected_is_none() -> None:
    (draining,) = as_seen(probed(RelayFailure.FORBIDDEN), make_node(intent=Intent.DRAINING), trusting=True, names_answered=True)
    (unsigned,) = as_seen(probed(RelayFailure.UNAUTHORIZED, unsigned=True), make_node(), trusting=True, names_answered=True)
    assert draining.sight is unsigned.sight is Sight.REFUSES


def test_without_authorities_tls_cannot_be_judged() -> None:
    (tls,) = as_seen(probed(RelayFailure.TLS_FAILED, transport="tls"), make_node(), trusting=False, names_answered=True)
    assert tls.sight is Sight.NOT_SENT
