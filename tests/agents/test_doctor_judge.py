"""What the doctor makes of facts: every state of every check, and sentences that name what to do."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from dataclasses import replace
from http.client import BadStatusLine
from pathlib import Path

import pytest

from agents.coturn import pair
from agents.coturn.folder import Owner
from agents.doctor.judge import addresses, certificate, host, origin, ports
from agents.doctor.look.origin import OriginFacts
from agents.doctor.look.place import CoturnFacts, DiskFacts, FolderFacts
from agents.doctor.look.ports import Holder, PortFacts
from agents.doctor.look.stun import Mapped
from agents.errors import IdentityError
from agents.identity import Identity
from agents.settings import AgentSettings
from controlplane.wire.agent_api import Capacity
from controlplane.wire.findings import Finding
from controlplane.wire.redacted import Redacted
from tests.agents.certificates import DAY, MIDDLE, NOW, ROOT, Issued, issue, make_files
from tests.agents.places import make_settings

PUBLIC, BEHIND, OUTSIDE = "11.0.0.5", "10.0.0.5", "11.0.0.9"


def states(found: list[Finding]) -> list[str]:
    return [one.state for one in found]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    assert found[0].detail.endswith(".")
    assert bool(found[0].remedy) == (found[0].state != "ok")
    return found[0]


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return make_settings(tmp_path, listen_address=BEHIND, relay_address=BEHIND, public_host="relay.test")


# addresses


def test_addresses_that_are_the_hosts_own_are_good(settings: AgentSettings) -> None:
    assert only(addresses.own(settings, {BEHIND: "eth0"})).state == "ok"
    assert only(addresses.own(settings, {})).state == "warning"


def test_an_address_that_the_host_does_not_have_is_wrong(settings: AgentSettings) -> None:
    told = only(addresses.own(settings, {"10.0.0.6": "eth0"}))
    assert told.state == "wrong"
    assert "10.0.0.6 (eth0)" in told.detail
    found = addresses.own(replace(settings, relay_address="10.0.0.7"), {"10.0.0.6": "eth0"})
    assert [("LISTEN_ADDRESS" in one.remedy, "RELAY_ADDRESS" in one.remedy) for one in found] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("relay", "stated", "seen", "state", "words"),
    [
        ("127.0.0.1", None, None, "ok", "loopback"),
        (PUBLIC, None, None, "ok", "was not verified"),
        (BEHIND, None, None, "warning", "not a public address"),
        (BEHIND, OUTSIDE, None, "warning", "was not verified (no STUN server is set)"),
        (BEHIND, OUTSIDE, TimeoutError("no answer within 3 s"), "warning", "no answer within 3 s"),
        (PUBLIC, None, OSError(errno.ENETUNREACH, "Network is unreachable"), "warning", "Network is unreachable"),
        (BEHIND, OUTSIDE, Mapped(address=OUTSIDE, port=40000, local_port=40000), "ok", "sees this host as 11.0.0.9"),
        (PUBLIC, None, Mapped(address=PUBLIC, port=1, local_port=1), "ok", "sees this host as"),
        (BEHIND, None, Mapped(address=OUTSIDE, port=1, local_port=1), "wrong", "comes from 11.0.0.9"),
        (BEHIND, "11.0.0.8", Mapped(address=OUTSIDE, port=1, local_port=1), "wrong", "11.0.0.8 is stated"),
        (PUBLIC, OUTSIDE, Mapped(address=PUBLIC, port=1, local_port=1), "wrong", "clients cannot reach"),
        (BEHIND, OUTSIDE, Mapped(address=OUTSIDE, port=50001, local_port=40000), "warning", "40000 became 50001"),
    ],
)
def test_the_external_address(
    settings: AgentSettings, relay: str, stated: str | None, seen: Mapped | Exception | None, state: str, words: str
) -> None:
    place = replace(settings, relay_address=relay, external_address=stated, stun_server=("stun.test", 3478) if seen else None)
    told = only(addresses.external(place, seen))
    assert told.state == state
    assert words in told.detail


def test_the_remedy_for_a_wrong_external_address_can_be_pasted(settings: AgentSettings) -> None:
    seen = Mapped(address=OUTSIDE, port=1, local_port=1)
    assert only(addresses.external(settings, seen)).remedy == f"Set TURNFLEET_AGENT_EXTERNAL_ADDRESS={OUTSIDE}."
    stated = replace(settings, relay_address=OUTSIDE, external_address=PUBLIC)
    assert "Remove TURNFLEET_AGENT_EXTERNAL_ADDRESS" in only(addresses.external(stated, seen)).remedy


@pytest.mark.parametrize(
    ("resolved", "state"),
    [([BEHIND], "ok"), ([OUTSIDE, "::1"], "ok"), (["192.0.2.1"], "warning"), (OSError(-2, "Name or service not known"), "wrong")],
)
def test_the_name_that_clients_are_told(settings: AgentSettings, resolved: list[str] | Exception, state: str) -> None:
    assert only(addresses.public_host(replace(settings, external_address=OUTSIDE), resolved)).state == state


# ports


def port(error: OSError | None, *holders: Holder) -> PortFacts:
    return PortFacts(transport="udp", address=BEHIND, port=3478, purpose="TURN over UDP", error=error, holders=holders)


TAKEN = OSError(errno.EADDRINUSE, "Address already in use")


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (port(None), "ok", "3478/udp"),
        (port(TAKEN, Holder(pid=7, program="turnserver", is_ours=True)), "ok", "our own coturn (process 7)"),
        (port(TAKEN, Holder(pid=7, program="turnserver", is_ours=False)), "wrong", "turnserver (process 7)"),
        (port(TAKEN, Holder(pid=7, program="named", is_ours=False)), "wrong", "named (process 7)"),
        (
            port(TAKEN, Holder(pid=7, program="turnserver", is_ours=True), Holder(pid=8, program="x", is_ours=False)),
            "wrong",
            "x (process 8)",
        ),
        (port(TAKEN), "wrong", "cannot see"),
        (port(OSError(errno.EACCES, "Permission denied")), "warning", "Permission denied"),
        (port(OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")), "wrong", "Cannot assign"),
    ],
)
def test_a_port_and_who_has_it(facts: PortFacts, state: str, words: str) -> None:
    told = only(ports.listening([facts]))
    assert told.state == state
    assert words in told.detail


def test_the_distributions_coturn_is_told_how_to_be_switched_off() -> None:
    told = only(ports.listening([port(TAKEN, Holder(pid=7, program="turnserver", is_ours=False))]))
    assert "systemctl disable --now coturn" in told.remedy


def room(bits: float = 1e9, allocations: int = 20000) -> Capacity:
    return Capacity(bits_per_second=bits, allocations=allocations, source="stated")


@pytest.mark.parametrize(
    ("changes", "capacity", "ephemeral", "found"),
    [
        ({}, room(), (32768, 60999), ["ok"]),
        ({}, room(), None, ["ok"]),
        ({"relay_ports": (10000, 40000)}, room(), (32768, 60999), ["warning"]),
        ({"total_quota": 30000}, room(), None, ["warning"]),
        ({"relay_ports": (10000, 10099)}, room(bits=1e10, allocations=100), None, ["warning"]),
        ({"relay_ports": (40000, 40099), "total_quota": 101}, room(bits=1e10, allocations=100), (32768, 60999), ["warning"] * 3),
    ],
)
def test_relay_ports(
    settings: AgentSettings,
    changes: dict[str, object],
    capacity: Capacity,
    ephemeral: tuple[int, int] | None,
    found: list[str],
) -> None:
    place = replace(settings, **({"relay_ports": (10000, 29999)} | changes))  # type: ignore[arg-type]
    assert states(ports.relaying(place, capacity, ephemeral)) == found


# the host


def coturn(
    version: tuple[int, int, int] | None = (4, 6, 1), path: str | None = "/usr/bin/turnserver", said: str = ""
) -> CoturnFacts:
    return CoturnFacts(binary="turnserver", path=path, version=version, said=said, pids=())


@pytest.mark.parametrize(
    ("facts", "attached", "state", "words"),
    [
        (coturn(), False, "ok", "coturn 4.6.1, which is drained by its secrets"),
        (coturn((4, 17, 1)), False, "ok", "coturn 4.17.1, which drains by a signal"),
        (coturn((4, 5, 2)), False, "warning", "nothing older than 4.6.1"),
        (coturn(None, said="no answer within 5 s"), False, "wrong", "no answer within 5 s"),
        (coturn(None, path=None), False, "wrong", "is not found"),
        (coturn(None, path=None), True, "warning", "is not found here"),
    ],
)
def test_coturn(facts: CoturnFacts, attached: bool, state: str, words: str) -> None:
    told = only(host.coturn(facts, attached=attached))
    assert told.state == state
    assert words in told.detail


@pytest.mark.parametrize(
    ("source", "bits", "link", "state"),
    [
        ("stated", 1e9, None, "ok"),
        ("stated", 1e9, 1e10, "ok"),
        ("link", 1e9, 1e9, "ok"),
        ("assumed", 1e9, None, "warning"),
        ("stated", 2e9, 1e9, "warning"),
    ],
)
def test_capacity(source: str, bits: float, link: float | None, state: str) -> None:
    told = Capacity(bits_per_second=bits, allocations=10, source=source)  # type: ignore[arg-type]
    assert only(host.capacity(told, interface="eth0", link=link)).state == state


@pytest.mark.parametrize(
    ("limit", "state", "words"),
    [
        (0, "ok", "any number"),
        (2200, "ok", "2200"),
        (2199, "warning", "by UDP"),
        (1200, "warning", "by UDP"),
        (1199, "warning", "999"),
    ],
)
def test_open_files(limit: int, state: str, words: str) -> None:
    told = only(host.open_files(limit, allocations=1000))
    assert told.state == state
    assert words in told.detail


def folder(**changes: object) -> FolderFacts:
    facts = FolderFacts(
        path=Path("/x/state"),
        exists=True,
        nearest=Path("/x/state"),
        is_folder=True,
        writable=True,
        closed=None,
        owner=Owner(user="turnserver", group="turnserver", uid=1, gid=1),
        foreign_files=None,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (folder(), "ok", "can be used"),
        (folder(exists=False, nearest=Path("/x")), "ok", "will be made"),
        (folder(is_folder=False, nearest=Path("/x")), "wrong", "/x is no folder"),
        (folder(writable=False), "wrong", "cannot be written to"),
        (folder(closed=Path("/x")), "wrong", "turnserver, whom coturn becomes, cannot enter /x"),
        (folder(foreign_files="There is a link."), "wrong", "There is a link."),
    ],
)
def test_the_state_folder(facts: FolderFacts, state: str, words: str) -> None:
    told = only(host.folder(facts))
    assert told.state == state
    assert words in told.detail


@pytest.mark.parametrize(
    ("free", "files", "state"),
    [(2e9, 1000, "ok"), (2e9, None, "ok"), (5e8, None, "warning"), (1e8, None, "wrong"), (2e9, 5, "wrong")],
)
def test_the_disk(free: float, files: int | None, state: str) -> None:
    assert only(host.disk(DiskFacts(path=Path("/x"), free_bytes=int(free), free_files=files))).state == state


def test_who_the_node_is(settings: AgentSettings) -> None:
    joined = Identity(node_id="node-1", token=Redacted("tfn_secret"), region="eu", realm="r")
    told = only(host.identity(joined, settings))
    assert told.detail == "This host has joined as node node-1 in region eu."
    assert only(host.identity(None, settings)).state == "ok"
    assert only(host.identity(None, replace(settings, join_token=None))).state == "wrong"
    assert only(host.identity(IdentityError("It cannot be read."), settings)).state == "wrong"


# the control plane


def done(**changes: object) -> OriginFacts:
    facts = OriginFacts(
        origin="https://a.test",
        step="done",
        addresses=("192.0.2.1",),
        status=200,
        is_turnfleet=True,
        seconds=0.01,
        clock_offset_seconds=0.3,
        clock_error_seconds=0.5,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def failed(step: str, error: Exception) -> OriginFacts:
    return OriginFacts(origin="https://a.test:8443", step=step, error=error, addresses=("192.0.2.1",))  # type: ignore[arg-type]


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            failed("name", OSError(-2, "Name or service not known")),
            "the name a.test cannot be resolved (Name or service not known)",
        ),
        (failed("connection", ConnectionRefusedError(111, "x")), "nothing listens at port 8443 of 192.0.2.1"),
        (failed("connection", TimeoutError("timed out")), "port 8443 of 192.0.2.1 does not answer"),
        (failed("connection", OSError(113, "No route to host")), "cannot be reached (No route to host)"),
        (failed("tls", untrusted()), "cannot be verified (self-signed certificate)"),
        (failed("tls", TimeoutError("timed out")), "the TLS handshake failed (timed out)"),
        (failed("answer", TimeoutError("timed out")), "no answer came"),
        (failed("answer", BadStatusLine("SSH")), "the answer is not HTTP"),
        (failed("answer", ConnectionResetError(104, "Connection reset by peer")), "closed before an answer came"),
        (done(status=503, is_turnfleet=False), "was answered with status 503 within 10 ms"),
        (done(status=302, is_turnfleet=False, location="https://b.test/"), "a redirection to https://b.test/"),
        (done(status=404, is_turnfleet=False), "not as a turnfleet control plane does"),
    ],
)
def test_the_way_to_the_control_plane_fails_in_words(facts: OriginFacts, words: str) -> None:
    told = only([one for one in origin.reached(facts) if one.name == "control_plane"])
    assert told.state == "wrong"
    assert words in told.detail
    assert facts.origin in told.detail


@pytest.mark.parametrize(
    ("url", "state"),
    [("https://a.test", "ok"), ("http://127.0.0.1:8080", "ok"), ("http://localhost", "ok"), ("http://a.test", "warning")],
)
def test_clear_text_is_for_this_host_alone(url: str, state: str) -> None:
    assert origin.reached(done(origin=url))[0].state == state


@pytest.mark.parametrize(
    ("offset", "state"),
    [
        (0.0, "ok"),
        (1.4, "ok"),
        (-2.5, "ok"),
        (2.6, "warning"),
        (-5.5, "warning"),
        (5.6, "wrong"),
        (-3600.0, "wrong"),
        (None, "warning"),
    ],
)
def test_the_clock(offset: float | None, state: str) -> None:
    assert origin.reached(done(clock_offset_seconds=offset))[1].state == state


def test_the_clock_says_which_way_it_is_off() -> None:
    assert "7.0 s ahead of that of https://a.test" in origin.reached(done(clock_offset_seconds=7.0))[1].detail
    assert "7.0 s behind that of https://a.test" in origin.reached(done(clock_offset_seconds=-7.0))[1].detail


# the certificate


def certified(folder: Path, own: Issued, *chain: Issued, unreadable: str | None = None) -> list[Finding]:
    files = make_files(folder, own, *chain)
    place = make_settings(folder, public_host="relay.test", tls_cert=files.certificate, tls_key=files.key)
    found = pair.read(files.certificate, files.key, name="relay.test", ca_file=files.authority)
    return certificate.judged(place, found, unreadable=unreadable, now=NOW)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: (issue("relay.test", issuer=MIDDLE), MIDDLE), ["ok"]),
        (lambda: (issue("relay.test", issuer=MIDDLE, ends_at=NOW + 15 * DAY), MIDDLE), ["ok"]),
        (lambda: (issue("relay.test", issuer=MIDDLE, ends_at=NOW + 13 * DAY), MIDDLE), ["warning"]),
        (lambda: (issue("relay.test", issuer=MIDDLE, ends_at=NOW - DAY / 2), MIDDLE), ["wrong"]),
        (lambda: (issue("relay.test", issuer=MIDDLE), ROOT, MIDDLE), ["warning"]),
        (lambda: (issue("relay.test", issuer=MIDDLE),), ["wrong"]),
        (lambda: (issue("other.test", ends_at=NOW - DAY / 2),), ["wrong", "wrong", "wrong"]),
    ],
)
def test_a_certificate(tmp_path: Path, make: Callable[[], tuple[Issued, ...]], found: list[str]) -> None:
    assert states(certified(tmp_path, *make())) == found


def test_days_are_counted(tmp_path: Path) -> None:
    told = only(certified(tmp_path, issue("relay.test", issuer=MIDDLE, ends_at=NOW + 13.5 * DAY), MIDDLE))
    assert "ends in 13 days" in told.detail


def test_a_key_that_coturns_user_cannot_read_is_a_warning(tmp_path: Path) -> None:
    told = only(certified(tmp_path, issue("relay.test", issuer=MIDDLE), MIDDLE, unreadable="It cannot."))
    assert told.state == "warning"


def test_no_tls_is_nothing_bad(settings: AgentSettings) -> None:
    assert only(certificate.none(settings)).state == "ok"
