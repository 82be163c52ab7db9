from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.geoip import client_address
from controlplane.geoip.client_address import MAXIMUM_ADDRESS_CHARACTERS

PEER = "198.51.100.7"


@pytest.mark.parametrize(
    ("header_value", "read"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="ipv4"),
        pytest.param("  192.0.2.1\t", "192.0.2.1", id="spaces"),
        pytest.param("192.0.2.1, 10.0.0.1,junk", "192.0.2.1", id="first of a list"),
        pytest.param("192.0.2.1:5678", "192.0.2.1", id="ipv4 with port"),
        pytest.param("2001:DB8:0:0::1", "2001:db8::1", id="ipv6 normalised"),
        pytest.param("[2001:db8::1]", "2001:db8::1", id="brackets"),
        pytest.param(" [2001:db8::1]:443 , x", "2001:db8::1", id="brackets and port"),
        pytest.param("2001:db8::1%eth0", "2001:db8::1", id="zone"),
        pytest.param("[fe80::1%25eth0]:443", "fe80::1", id="zone in brackets"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="mapped"),
        pytest.param("[::ffff:c000:201]:443", "192.0.2.1", id="mapped in hexadecimal"),
        pytest.param("10.0.0.1", "10.0.0.1", id="private is an address"),
        pytest.param("0000:0000:0000:0000:0000:ffff:192.168.100.200", "192.168.100.200", id="45 characters"),
    ],
)
def test_an_address_in_the_header_wins(header_value: str, read: str) -> None:
    assert client_address(header_value, PEER) == read


@pytest.mark.parametrize(
    "header_value",
    [
        None,
        *("", " ", ",", ",192.0.2.1", "unknown", "localhost", "192.0.2", "192.0.2.256", "192.0.02.1", "3221225985"),
        *("192.0.2.1:", "192.0.2.1:x", "192.0.2.1:123456", "192.0.2.1:٤٤٣", "192.0.2.1%eth0", "192.0.2.1/24"),
        *("[2001:db8::1", "2001:db8::1]", "[]", "[", "[2001:db8::1]443", "[2001:db8::1]:", "[192.0.2.1]", "%", ":"),
        *("00000:0000:0000:0000:0000:ffff:192.168.100.200", "1" * 46, "[" * 10_000, "192.0.2.1\0", "\ud800"),
    ],
)
def test_a_header_without_an_address_leaves_the_peer(header_value: str | None) -> None:
    assert client_address(header_value, PEER) == PEER


@pytest.mark.parametrize(
    ("peer", "read"),
    [(None, None), ("", None), ("testclient", None), ("::ffff:192.0.2.9", "192.0.2.9"), ("2001:db8::9", "2001:db8::9")],
)
def test_the_peer_is_read_as_the_header_is(peer: str | None, read: str | None) -> None:
    assert client_address(None, peer) == read


def test_the_longest_text_of_an_address_is_45_characters() -> None:
    assert MAXIMUM_ADDRESS_CHARACTERS == 45


_ADDRESS_LIKE = st.text("0123456789abcdef.:%[], \0\ud800٤", max_size=60)


@given(st.none() | st.text() | _ADDRESS_LIKE, st.none() | st.text() | _ADDRESS_LIKE)
def test_any_text_gives_a_canonical_address_or_none(header_value: str | None, peer: str | None) -> None:
    read = client_address(header_value, peer)

    assert read is None or str(ip_address(read)) == read


@given(st.ip_addresses(), st.sampled_from(["{}", " {} ", "{},10.0.0.1"]))
def test_every_address_survives(address: IPv4Address | IPv6Address, written: str) -> None:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None

    assert client_address(written.format(address), None) == str(mapped or address)
