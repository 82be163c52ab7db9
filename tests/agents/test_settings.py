"""The environment, the command line, and what the host says."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

from agents import cli, host, log
from agents.errors import SettingsError
from agents.settings import FIELDS, AgentSettings, from_environment
from tests.agents.places import make_settings

REQUIRED = {"TURNFLEET_AGENT_URL": "https://turn.example"}


def settings(**variables: str) -> AgentSettings:
    environment = REQUIRED | {f"TURNFLEET_AGENT_{name}": value for name, value in variables.items()}
    return from_environment(
        environment, default_address=lambda: "192.0.2.7", default_interface=lambda _: "eth7", interfaces=lambda: None
    )


def test_one_variable_is_enough_on_a_host_with_a_default_route() -> None:
    found = settings()
    assert found.urls == ("https://turn.example",)
    assert found.listen_address == found.relay_address == found.public_host == "192.0.2.7"
    assert found.interface == "eth7"
    assert (found.port, found.tls_port, found.cli_port, found.relay_ports) == (3478, 5349, 5766, (10000, 29999))
    assert (found.coturn, found.on_exit, found.probe_interval_seconds) == ("own", "stop", 3.0)
    assert found.allocation_capacity == 20000
    assert not found.serves_tls


def test_clients_are_told_the_public_address_behind_a_nat() -> None:
    assert settings(EXTERNAL_ADDRESS="198.51.100.1").public_host == "198.51.100.1"
    assert settings(EXTERNAL_ADDRESS="198.51.100.1", PUBLIC_HOST="relay.example").public_host == "relay.example"


def test_a_relay_on_loopback_is_measured_there(folder: Path) -> None:
    assert make_settings(folder).interface == "lo"


def test_several_origins_are_kept_in_order() -> None:
    assert settings(URL="https://a.example, http://b.example:8080/").urls == ("https://a.example", "http://b.example:8080")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("URL", "turn.example", "origins"),
        ("URL", "https://turn.example/api/v1", "without path"),
        ("URL", "https://user:pw@turn.example", "without path, query or user"),
        ("URL", "https://turn.example:99999", "port"),
        ("PORT", "0", "port from 1"),
        ("PORT", "70000", "port from 1"),
        ("PORT", "٣", "port from 1"),
        ("RELAY_PORTS", "10000", "range of ports"),
        ("RELAY_PORTS", "300-200", "lower port first"),
        ("RELAY_PORTS", "3000-4000", "must not contain"),
        ("LISTEN_ADDRESS", "0.0.0.0", "wildcard"),
        ("LISTEN_ADDRESS", "localhost", "IP address"),
        ("RELAY_ADDRESS", "2001:db8::1", "same IP version"),
        ("LISTEN_ADDRESS", "127.0.0.1", "ALLOW_LOOPBACK_PEERS"),
        ("PUBLIC_HOST", "a b", "host name"),
        ("NAME", "a b", "letters"),
        ("STATE_DIR", "relative/path", "absolute"),
        ("STATE_DIR", "/a b", "without spaces"),
        ("TLS_CERT", "/no/such/file", "exists"),
        ("COTURN", "both", "own, attached"),
        ("ON_EXIT", "crash", "stop, leave"),
        ("LOG_LEVEL", "loud", "debug, info"),
        ("CAPACITY_BITS_PER_SECOND", "fast", "a number"),
        ("CAPACITY_BITS_PER_SECOND", "nan", "above 0"),
        ("PROBE_INTERVAL_SECONDS", "-1", "above 0"),
        ("METRICS_HOST", "0.0.0.0", "wildcard"),
        ("METRICS_PORT", "http", "port from 1"),
        ("METRICS_PORT", "3478", "must differ"),
        ("METRICS_PORT", "5766", "must differ"),
        ("ALLOW_LOOPBACK_PEERS", "maybe", "true or false"),
        ("RELAY_THREADS", "500", "threads"),
        ("USER_QUOTA", "-1", "from 0"),
        ("TOTAL_QUOTA", "0", "from 1"),
        ("MAX_BYTES_PER_SECOND_PER_SESSION", "1e6", "whole number"),
        ("CAPACITY_PACKETS_PER_SECOND", "0", "above 0"),
        ("DENIED_PEERS", "9.9.9.0/24", "no CIDR"),
        ("DENIED_PEERS", "9.9.9.9,", "addresses or ranges"),
        ("DENIED_PEERS", "9.9.9.9-9.9.9.1", "lower to a higher"),
        ("DENIED_PEERS", "9.9.9.9-::1", "one IP version"),
        ("INTERFACE", "../x", "interface"),
        ("CA_FILE", "/no/such/file", "exists"),
    ],
)
def test_a_bad_value_is_told_in_one_sentence_with_its_variable(variable: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{variable: value})
    told = str(caught.value)
    assert "TURNFLEET_AGENT_" in told
    assert words in told
    assert told.endswith(".")
    assert "\n" not in told


@pytest.mark.parametrize("name", ["a b.pem", "a#b.pem", "a=b.pem"])
def test_a_certificate_that_coturn_could_not_be_told_of_is_refused_at_the_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    with pytest.raises(SettingsError, match="TLS_CERT must be a path without spaces"):
        settings(TLS_CERT=str(path), TLS_KEY=str(path))


def test_peers_to_deny_are_read_in_the_form_that_coturn_honours() -> None:
    assert settings(DENIED_PEERS="9.9.9.9, 8.8.8.0 - 8.8.8.255,2A00::1").denied_peers == ("9.9.9.9", "8.8.8.0-8.8.8.255", "2a00::1")


@pytest.mark.parametrize(("quota", "capacity"), [("", 20000), ("300", 300), ("50000", 20000)])
def test_the_capacity_is_the_smaller_of_quota_and_relay_ports(quota: str, capacity: int) -> None:
    found = settings(TOTAL_QUOTA=quota)
    assert found.allocation_capacity == capacity
    assert found.allocation_quota == int(quota or 20000)


def test_an_interface_that_the_host_does_not_have_is_refused_with_those_it_has() -> None:
    environment = REQUIRED | {"TURNFLEET_AGENT_LISTEN_ADDRESS": "192.0.2.7", "TURNFLEET_AGENT_INTERFACE": "eht0"}

    def read(*known: str) -> AgentSettings:
        return from_environment(
            environment, default_address=lambda: None, default_interface=lambda _: None, interfaces=lambda: known
        )

    with pytest.raises(SettingsError, match=r"no network interface eht0; it has eth0, lo\.$"):
        read("lo", "eth0")
    assert read("lo", "eht0").interface == "eht0"


def test_a_public_relay_is_never_measured_on_loopback_by_default() -> None:
    with pytest.raises(SettingsError, match="INTERFACE must be set"):
        from_environment(
            REQUIRED | {"TURNFLEET_AGENT_LISTEN_ADDRESS": "192.0.2.7"},
            default_address=lambda: None,
            default_interface=lambda _: None,
            interfaces=lambda: None,
        )


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.touch()
    with pytest.raises(SettingsError, match="together"):
        settings(TLS_CERT=str(path))


def test_a_missing_url_and_a_missing_route_are_told() -> None:
    with pytest.raises(SettingsError, match="URL must be set"):
        from_environment({}, default_address=lambda: None, default_interface=lambda _: None, interfaces=lambda: None)
    with pytest.raises(SettingsError, match="LISTEN_ADDRESS must be set"):
        from_environment(REQUIRED, default_address=lambda: None, default_interface=lambda _: None, interfaces=lambda: None)


def test_an_unknown_variable_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(SettingsError, match="nearest one is TURNFLEET_AGENT_RELAY_PORTS"):
        settings(RELAY_PORT="1-2")


def test_every_field_is_documented() -> None:
    assert set(FIELDS) == {one.name for one in fields(AgentSettings)}
    for doc in FIELDS.values():
        assert doc.variable.startswith("TURNFLEET_AGENT_")
        assert doc.meaning.endswith(".")


def test_the_token_does_not_show() -> None:
    assert "tfj_secret" not in repr(settings(JOIN_TOKEN="tfj_secret"))


def test_a_log_that_nobody_reads_any_more_does_not_end_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        stream = log._Stderr()
        stream.write("a line\n")
        stream.flush()
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            gone.close()


# the program


def test_render_config_prints_what_would_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (REQUIRED | {"TURNFLEET_AGENT_LISTEN_ADDRESS": "192.0.2.7", "TURNFLEET_AGENT_INTERFACE": "lo"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        cli.run(["render-config", "--realm", "eu.example"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "realm=eu.example\n" in printed
    assert "listening-ip=192.0.2.7\n" in printed


@pytest.mark.parametrize("url", ["", "nonsense"])
def test_bad_settings_end_the_program_with_two_and_a_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TURNFLEET_AGENT_URL", url)
    with pytest.raises(SystemExit) as caught:
        cli.run(["run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("turnfleet-agent: TURNFLEET_AGENT_URL must")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.run(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("turnfleet-agent ")


# the host


def fake_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host, "PROC", folder / "proc")
    monkeypatch.setattr(host, "SYS", folder / "sys")
    (folder / "proc" / "net").mkdir(parents=True)
    (folder / "sys" / "class" / "net" / "eth0").mkdir(parents=True)
    return folder


def test_counters_are_read_from_proc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = fake_host(folder, monkeypatch) / "proc"
    (proc / "net" / "dev").write_text(
        "Inter-|   Receive  |  Transmit\n face |bytes packets\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0:100 10 0 0 0 0 0 0 200 20 0 0 0 0 0 0\n"
    )
    (proc / "stat").write_text("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1\n")
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\n")
    found = host.sample("eth0")
    assert (found.receive_bytes, found.receive_packets, found.transmit_bytes, found.transmit_packets) == (100, 10, 200, 20)
    assert (found.cpu_busy, found.cpu_total, found.memory_ratio) == (20.0, 100.0, 0.75)
    assert host.sample("eth1").receive_bytes == 0


def test_a_host_without_proc_still_gives_a_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PROC", folder / "nothing")
    found = host.sample("en0")
    assert (found.receive_bytes, found.memory_ratio) == (0, 0.0)
    assert host.open_files(1) == host.OpenFiles(count=0, limit=0)
    assert host.interfaces() is None


def test_the_interface_of_the_default_route_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = fake_host(folder, monkeypatch) / "proc"
    (proc / "net" / "route").write_text(
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth1 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
        "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n"
    )
    assert host.default_interface("192.0.2.77") == "eth0"


def test_the_interface_of_the_ipv6_default_route_is_found_and_a_rejecting_one_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc = fake_host(folder, monkeypatch) / "proc"
    zeros = "0" * 32
    tail = "00000400 00000001 00000000"
    (proc / "net" / "ipv6_route").write_text(
        f"fd000000000000000000000000000000 40 {zeros} 00 {zeros} {tail} 00000001     eth1\n"
        f"{zeros} 00 {zeros} 00 {zeros} {tail} 00200200       lo\n"
        f"{zeros} 00 {zeros} 00 {zeros} {tail} 00200200     eth2\n"
        f"{zeros} 00 {zeros} 00 fe800000000000000000000000000001 {tail} 00450003     eth0\n"
    )
    assert host.default_interface("2001:db8::1") == "eth0"


def test_the_interface_that_carries_the_address_comes_before_the_default_route(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc = fake_host(folder, monkeypatch) / "proc"
    (proc / "net" / "if_inet6").write_text("2a000000000000000000000000000007 03 40 00 80     eth5\n")
    (proc / "net" / "route").write_text("Iface\neth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\n")
    assert host.default_interface("2a00::7") == "eth5"
    assert host.default_interface("2a00::8") == "eth0"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")
def test_this_hosts_own_addresses_are_found_with_their_interfaces() -> None:
    found, known = host.addresses(), host.interfaces()
    assert found["127.0.0.1"] == "lo"
    assert known is not None
    assert set(found.values()) <= known
    address = host.default_address()
    assert address is None or found[address] != "lo"


@pytest.mark.parametrize(("speed", "bits", "source"), [("10000\n", 1e10, "link"), ("-1\n", 1e9, "assumed"), (None, 1e9, "assumed")])
def test_capacity_is_the_links_speed_or_assumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, speed: str | None, bits: float, source: str
) -> None:
    fake_host(folder, monkeypatch)
    if speed is not None:
        (folder / "sys" / "class" / "net" / "eth0" / "speed").write_text(speed)
    found = host.capacity(make_settings(folder, interface="eth0"))
    assert (found.bits_per_second, found.source, found.allocations) == (bits, source, 100)


def test_a_stated_capacity_wins(folder: Path) -> None:
    found = host.capacity(make_settings(folder, capacity_bits_per_second=5e8))
    assert (found.bits_per_second, found.source, found.packets_per_second) == (5e8, "stated", None)


def test_packets_limit_a_node_only_where_its_operator_says_so(folder: Path) -> None:
    assert host.capacity(make_settings(folder, capacity_packets_per_second=1e5)).packets_per_second == 1e5
