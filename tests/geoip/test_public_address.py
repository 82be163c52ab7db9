from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.geoip.public_address import public_address


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("8.8.8.8", ("8.8.8.8", False)),
        (" 8.8.8.8\t", ("8.8.8.8", False)),
        ("2001:4860:4860::8888", ("2001:4860:4860::8888", True)),
        ("2001:4860:4860::8888%eth0", ("2001:4860:4860::8888", True)),
        ("::ffff:8.8.8.8", ("8.8.8.8", False)),
        ("::FFFF:808:808", ("8.8.8.8", False)),
    ],
)
def test_a_public_address_is_read_however_it_is_written(written: str, read: tuple[str, bool]) -> None:
    assert public_address(written) == read


@pytest.mark.parametrize(
    "written",
    [
        *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.31.255.255", "192.168.1.1"),
        *("192.0.2.1", "198.19.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:db8::1", "2001::1", "3fff::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::8.8.8.8"),
    ],
)
def test_an_address_that_is_not_public_is_refused(written: str) -> None:
    assert public_address(written) is None


@pytest.mark.parametrize(
    "written",
    [
        *("", " ", ".", ":", "%", "8.8.8", "8", "0x8.8.8.8", "08.8.8.8", "8.8.8.8%eth0", "8.8.8.8/32", "8.8.8.8:53"),
        *("[2001:4860:4860::8888]", "2001:4860::4860::8888", "٨.8.8.8", "8.8.8.8\0", "8.8.8.8\ud800", "x" * 100_000),
    ],
)
def test_junk_is_refused(written: str) -> None:
    assert public_address(written) is None


@given(st.text() | st.text("0123456789abcdef.:%[] \0"))
def test_no_text_raises(written: str) -> None:
    public_address(written)


@given(st.ip_addresses())
def test_whatever_ipaddress_calls_not_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global:
        assert public_address(str(address)) is None


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6, network="2000::/3"))
def test_a_global_unicast_address_passes(address: IPv4Address | IPv6Address) -> None:
    # The exceptions that IANA carved out of two special blocks belong to protocols, not to places.
    carved_out = address in _PROTOCOL_BLOCKS[address.version]
    if address.is_global and not address.is_multicast and not carved_out:
        assert public_address(str(address)) == (str(address), address.version == 6)


class _Block:
    def __init__(self, low: str, high: str) -> None:
        self._low, self._high = int(ip_address(low)), int(ip_address(high))

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        return self._low <= int(address) <= self._high


_PROTOCOL_BLOCKS = {
    4: _Block("192.0.0.0", "192.0.0.255"),
    6: _Block("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
}
