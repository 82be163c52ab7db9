"""coturn's configuration as text."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.coturn import config, peers
from agents.coturn.config import Wanted
from controlplane.wire.redacted import Redacted

WANTED = Wanted(
    realm="eu.example",
    listen_address="192.0.2.10",
    relay_address="192.0.2.10",
    external_address=None,
    port=3478,
    tls_port=5349,
    tls_cert=None,
    tls_key=None,
    relay_ports=(10000, 29999),
    relay_threads=None,
    cli_port=5766,
    cli_password=Redacted("0" * 64),
    allow_loopback_peers=False,
    denied_peers=(),
    own_addresses=(),
    user_quota=20,
    total_quota=20000,
    max_bytes_per_second_per_session=None,
    database=Path("/s/db/turndb"),
    pid_file=Path("/s/turn.pid"),
    log_file=Path("/s/turn.log"),
    log_tag="0123456789abcdef",
    user="turnserver",
    group="turnserver",
)

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


def options(wanted: Wanted) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in config.render(wanted).splitlines():
        if not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@given(listen=addresses, relay=addresses, external=st.none() | addresses, loopback=st.booleans())
def test_peer_rules_are_never_cidr_and_every_range_is_in_order(
    listen: str, relay: str, external: str | None, loopback: bool
) -> None:
    wanted = replace(WANTED, listen_address=listen, relay_address=relay, external_address=external, allow_loopback_peers=loopback)
    found = options(wanted)
    for value in found["denied-peer-ip"] + found["allowed-peer-ip"]:
        assert "/" not in value
        peers.lint(value)
    assert found["allowed-peer-ip"] == [relay]


@pytest.mark.parametrize("text", ["10.0.0.0/8", "fc00::/7", "10.0.0.9-10.0.0.1", "10.0.0.0-::1", "ten", ""])
def test_what_coturn_would_not_honour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        peers.lint(text)


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "127.0.0.1",
        "169.254.169.254",
        "192.168.0.1",
        "172.20.0.1",
        "100.64.1.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "64:ff9b::a00:1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
        "2001::1",
        "100::1",
        "255.255.255.255",
    ],
)
def test_addresses_that_are_not_public_are_denied(address: str) -> None:
    assert denies(address, peers.denied(allow_loopback=False))


@pytest.mark.parametrize("address", ["8.8.8.8", "11.0.0.1", "172.32.0.1", "192.169.0.1", "2a00::1", "2001:4860::8888"])
def test_public_addresses_are_not_denied(address: str) -> None:
    assert not denies(address, peers.denied(allow_loopback=False))


def test_only_development_lets_clients_relay_to_loopback() -> None:
    assert "allow-loopback-peers" not in options(WANTED)
    found = options(replace(WANTED, allow_loopback_peers=True))
    assert found["allow-loopback-peers"] == [""]
    assert not denies("127.0.0.1", tuple(found["denied-peer-ip"]))
    assert denies("10.0.0.1", tuple(found["denied-peer-ip"]))


def test_the_listening_address_is_no_peer_when_another_one_relays() -> None:
    assert "192.0.2.10" not in options(WANTED)["denied-peer-ip"]
    assert "192.0.2.10" in options(replace(WANTED, relay_address="192.0.2.11"))["denied-peer-ip"]


@pytest.mark.parametrize(
    "name",
    [
        "use-auth-secret",
        "fingerprint",
        "no-multicast-peers",
        "no-tcp-relay",
        "no-dtls",
        "no-tls",
        "no-software-attribute",
        "no-rfc5780",
        "no-stun-backward-compatibility",
        "response-origin-only-with-rfc5780",
        "cli",
        "no-stdout-log",
        "simple-log",
    ],
)
def test_a_switch_is_set(name: str) -> None:
    assert options(WANTED)[name] == [""]


@pytest.mark.parametrize(
    "name", ["redis-statsdb", "redis-userdb", "lt-cred-mech", "no-auth", "web-admin", "Verbose", "static-auth-secret"]
)
def test_a_dangerous_option_is_absent(name: str) -> None:
    assert name not in options(replace(WANTED, tls_cert=Path("/c"), tls_key=Path("/k"), relay_threads=2))


def test_values_are_where_coturn_looks_for_them() -> None:
    found = options(
        replace(
            WANTED,
            external_address="198.51.100.1",
            tls_cert=Path("/c.pem"),
            tls_key=Path("/k.pem"),
            relay_threads=3,
        )
    )
    assert found["external-ip"] == ["198.51.100.1/192.0.2.10"]
    assert found["stale-nonce"] == ["600"]
    assert found["cli-ip"] == ["127.0.0.1"]
    assert found["cli-max-output-sessions"] == ["100000"]
    assert (found["cert"], found["pkey"], found["tls-listening-port"]) == (["/c.pem"], ["/k.pem"], ["5349"])
    assert found["no-tlsv1"] == found["no-tlsv1_1"] == [""]
    assert found["relay-threads"] == ["3"]
    assert found["proc-user"] == ["turnserver"]
    assert "no-tls" not in found


def test_threads_and_user_are_left_to_coturn_unless_set() -> None:
    found = options(replace(WANTED, user=None, group=None))
    assert not {"relay-threads", "proc-user", "proc-group", "external-ip"} & set(found)


@pytest.mark.parametrize("realm", ["a\nuser=x:y", "a b", "a#b", "a\tb", "a\x00b"])
def test_a_realm_that_would_smuggle_in_an_option_is_refused(realm: str) -> None:
    with pytest.raises(ValueError, match="realm"):
        config.render(replace(WANTED, realm=realm))


def test_the_same_wish_gives_the_same_bytes() -> None:
    assert config.digest(config.render(WANTED)) == config.digest(config.render(replace(WANTED)))
    assert config.digest(config.render(WANTED)) != config.digest(config.render(replace(WANTED, realm="us.example")))


def denies(address: str, ranges: tuple[str, ...]) -> bool:
    one = ipaddress.ip_address(address)
    for text in ranges:
        first, _, last = text.partition("-")
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last or first)
        if low.version == one.version and int(low) <= int(one) <= int(high):
            return True
    return False


def test_quotas_are_rendered_and_zero_is_none() -> None:
    found = options(replace(WANTED, user_quota=2, total_quota=7, max_bytes_per_second_per_session=125000))
    assert (found["user-quota"], found["total-quota"], found["max-bps"]) == (["2"], ["7"], ["125000"])
    found = options(replace(WANTED, user_quota=0))
    assert not {"user-quota", "max-bps"} & set(found)


def test_peers_that_the_operator_denies_are_denied() -> None:
    found = options(replace(WANTED, denied_peers=("9.9.9.9", "8.8.8.0-8.8.8.255")))["denied-peer-ip"]
    assert denies("9.9.9.9", tuple(found))
    assert denies("8.8.8.77", tuple(found))


def test_every_address_of_this_host_is_denied_but_the_one_that_relays() -> None:
    own = ("203.0.114.1", "203.0.114.2", "203.0.114.3", "10.0.0.7", "fe80::5", "2a00::7")
    wanted = replace(
        WANTED, listen_address="203.0.114.1", relay_address="203.0.114.2", external_address="203.0.114.3", own_addresses=own
    )
    found = options(wanted)["denied-peer-ip"]
    assert [one for one in found if one not in peers.DENIED] == ["203.0.114.1", "2a00::7"]
    # The order in which the system lists them must not look like another configuration.
    assert config.render(wanted) == config.render(replace(wanted, own_addresses=own[::-1]))
