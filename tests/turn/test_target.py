"""URLs of relays, as RFC 7064 and RFC 7065 have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.ice_urls import stun_urls, turn_urls
from controlplane.fleet.model import Listener, Transport
from controlplane.turn.target import parse_url


@pytest.mark.parametrize(
    ("url", "transport", "address", "port"),
    [
        ("turn:relay.test", "udp", "relay.test", 3478),
        ("turn:relay.test?transport=tcp", "tcp", "relay.test", 3478),
        ("turns:relay.test", "tls", "relay.test", 5349),
        ("turns:relay.test:443?transport=tcp", "tls", "relay.test", 443),
        ("turn:192.0.2.7:80?transport=udp", "udp", "192.0.2.7", 80),
        ("turn:[2001:db8::1]:80?transport=udp", "udp", "2001:db8::1", 80),
        ("stun:[::1]", "udp", "::1", 3478),
    ],
)
def test_a_url_names_a_listener(url: str, transport: str, address: str, port: int) -> None:
    target = parse_url(url)
    assert (target.transport, target.address, target.port, target.server_name) == (transport, address, port, address)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://relay.test", "no stun:"),
        ("turn:relay.test:99999", "99999 is no port"),
        ("turns:relay.test?transport=udp", "DTLS"),
        ("turn:relay.test?transport=sctp", "sctp is no transport"),
        ("turn:user@relay.test", "no stun:"),
        ("turn:[::1", "no stun:"),
        ("turn:relay.test\n", "no stun:"),
    ],
)
def test_what_is_none_is_told_in_a_sentence(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_url(url)


@pytest.mark.parametrize("host", ["relay.test", "192.0.2.7", "2001:db8::1"])
def test_every_url_that_is_issued_can_be_read_back(host: str) -> None:
    listeners = [Listener(transport=each, host=host, port=port) for port, each in enumerate(Transport, 1000)]
    read = [parse_url(url) for url in turn_urls(listeners, limit=9)]
    assert [(each.transport, each.address, each.port) for each in read] == [
        (each.transport.value, host, each.port) for each in listeners
    ]
    assert parse_url(stun_urls(listeners)[0]).address == host


@given(st.text())
def test_any_text_is_a_listener_or_a_sentence(text: str) -> None:
    for url in (text, f"turn:{text}", f"turns:{text}?transport=tcp"):
        try:
            target = parse_url(url)
        except ValueError:
            continue
        assert target.address
        assert 0 < target.port < 65_536
