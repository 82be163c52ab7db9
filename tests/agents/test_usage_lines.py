"""What coturn says, in its log and on its command line, as values. The golden samples are what Debian's coturn 4.6.1 wrote."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.coturn import cli_replies
from agents.probe import credential as probe_credential
from agents.usage.lines import (
    Booted,
    Closed,
    Deleted,
    Event,
    LogReader,
    Relayed,
    Released,
    Started,
    boot_line,
    log_tag,
    timestamp_format,
)
from agents.usage.username import Credential, credential
from controlplane.turn.username import is_probe
from controlplane.wire.redacted import Redacted

GOLDEN = Path(__file__).parent / "golden"
TAG = "0123456789abcdef"
ID = "0193b3cb-c7c0-7000-8000-00000000000"
OLD = f"2026-11-22T05:34:25+0000.{TAG}: "
NEW = f"2026-11-22T05:34:25+0000.{TAG} INFO "
AT = 1795325665.0


def events(text: str | bytes) -> list[Event]:
    piece = text if isinstance(text, bytes) else text.encode()
    return [event for _, event in LogReader(TAG).events(piece)]


def of(session: int, kind: type[Event]) -> list[Event]:
    found = events((GOLDEN / "coturn-4.6.1.log").read_bytes())
    return [one for one in found if isinstance(one, kind) and not isinstance(one, Booted) and int(one.session_id) == session]


def test_the_golden_log_tells_of_every_allocation_and_of_nobody_else() -> None:
    found = events((GOLDEN / "coturn-4.6.1.log").read_bytes())
    assert found[0] == Booted(at=AT, boot_id=None)
    started = [one for one in found if isinstance(one, Started)]
    # 6, 8, 9, 11 and 12 were refused for their user names.
    assert [int(one.session_id) for one in started] == [1, 2, 3, 4, 5, 7, 10]
    assert [one.over_tls for one in started] == [False, False, True, False, False, False, False]
    assert [credential(one.username) is not None for one in started] == [True] * 5 + [False] * 2
    assert started[5].username.endswith(":b>,rb=999,sp=1")
    assert [type(one) for one in of(1, Event)][1:] == [Released, Relayed, Closed, Deleted]  # type: ignore[arg-type]


def test_the_golden_logs_counts_are_differences() -> None:
    sums = [(one.packets_from_client, one.bytes_from_client) for one in of(5, Relayed) if isinstance(one, Relayed)]
    assert sums[:2] == [(1026, 61732), (1024, 61440)]
    assert len(sums) == 3


@pytest.mark.parametrize(
    ("session", "client", "reason"),
    [
        (1, "127.0.0.1", "allocation timeout"),
        (3, "127.0.0.1", "Forceful shutdown"),
        (2, "127.0.0.1", "TCP connection closed by client (callback)"),
    ],
)
def test_the_golden_logs_ends(session: int, client: str, reason: str) -> None:
    (closed,) = of(session, Closed)
    assert isinstance(closed, Closed)
    assert (closed.client.rpartition(":")[0], closed.reason) == (client, reason)


@pytest.mark.parametrize("prefix", [OLD, NEW, OLD.replace("25+", "25.435+"), NEW.replace("05:34:25+0000", "07:34:25+0200")])
def test_both_forms_of_lines_are_read(prefix: str) -> None:
    (event,) = events(prefix + f"session 000000000000000005: new, realm=<y.test>, username=<99:{ID}1>, lifetime=600\n")
    assert isinstance(event, Started)
    assert event.username == f"99:{ID}1"
    assert int(event.at) == int(AT)


FORGERIES = [
    "session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    "0: : session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    "2026-11-22T05:34:25+0000: session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    "2026-11-22T05:34:25+0000.0123456789abcdee: session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    OLD + "ERROR: check_stun_auth: wrong username: session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    OLD + "session 1: peer usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    OLD + "session 1: realm <x> user <usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1\n",
    OLD + "session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1\n",
    OLD + "session 1: usage: realm=<x>, username=<y>, rp=1, rb=9, sp=1, sb=1, more\n",
    OLD + "turnfleet: boot <x>\n",
]


@pytest.mark.parametrize("line", FORGERIES, ids=range(len(FORGERIES)))
def test_what_coturn_did_not_say_is_nothing(line: str) -> None:
    assert events(line) == []


def test_the_counts_are_those_at_the_end_whatever_the_name_holds() -> None:
    (event,) = events(OLD + "session 1: usage: realm=<x>, username=<9:y>, rp=7, rb=7, sp=7, sb=7>, rp=1, rb=2, sp=3, sb=4\n")
    assert event == Relayed(
        at=AT, session_id="1", packets_from_client=1, bytes_from_client=2, packets_to_client=3, bytes_to_client=4
    )


def test_the_client_is_that_at_the_end_whatever_the_origin_holds() -> None:
    origin = "o>, local a, remote b, reason: x"
    line = f"session 1: closed (2nd stage), user <u> realm <r> origin <{origin}>, local c, remote d, reason: z\n"
    assert events(OLD + line) == [Closed(at=AT, session_id="1", client="d", reason="z")]


def test_line_breaks_in_an_origin_do_not_name_another_client() -> None:
    origin = "o>, local a, remote 192.0.2.1:1, reason: x\r\nsession 2: delete: \n"
    line = f"session 1: closed (2nd stage), user <u> realm <r> origin <{origin}>, local c, remote d, reason: z\n"
    assert events(OLD + line + OLD + "session 1: delete: realm=<r>, username=<u>\n") == [
        Closed(at=AT, session_id="1", client="d", reason="z"),
        Deleted(at=AT, session_id="1"),
    ]


def test_an_endless_line_does_not_keep_the_patterns_busy() -> None:
    began = time.monotonic()
    events(OLD + "session 1: closed (2nd stage), " + "user <> realm <> origin <>, local a, remote b," * 5000 + "\n")
    assert time.monotonic() - began < 1


def test_a_line_that_coturn_cut_swallows_not_the_next_one() -> None:
    cut = OLD + "session 1: closed (2nd stage), user <" + "x" * 900
    line = "session 2: closed (2nd stage), user <u> realm <r> origin <>, local a, remote b, reason: c\n"
    assert events(cut + OLD + line) == [Closed(at=AT, session_id="2", client="b", reason="c")]


def test_the_agents_own_line_names_the_boot() -> None:
    assert events(boot_line(TAG, "boot-id_1", at=AT)) == [Booted(at=AT, boot_id="boot-id_1")]


@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_bytes_are_too_odd(junk: bytes, kind: int) -> None:
    starts = [b"", b"session 1: ", b"session 1: usage: ", b"session 1: closed (2nd stage), "]
    events(OLD.encode() + starts[kind] + junk + b"\n")


def test_the_tag_tells_nothing_of_the_password_and_fits_coturns_buffer() -> None:
    tag = log_tag(Redacted("p" * 64))
    assert tag == log_tag(Redacted("p" * 64)) != log_tag(Redacted("q" * 64))
    assert len(timestamp_format(tag)) < 48


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        (f"1795311230:{ID}1", Credential(f"{ID}1", 1795311230.0)),
        (f"{ID}1:1795311230", Credential(f"{ID}1", 1795311230.0)),
        (f"{ID}1", None),
        ("1795311230", None),
        (f"1795311230:{ID}1 ", None),
        (f"1795311230:{ID}1\n", None),
        (f"1795311230:{ID.upper()}A", None),
        (f"1795311230:{ID}1>, rb=9", None),
        (f"-5:{ID}1", None),
        (f"123456789012:{ID}1", None),
        (f"١٢٣:{ID}1", None),  # digits, but not ASCII's
        ("1795311230:probe-0123456789ab", None),
        ("", None),
    ],
)
def test_user_names(username: str, expected: Credential | None) -> None:
    assert credential(username) == expected


@given(st.text(max_size=80))
def test_no_user_name_is_too_odd(username: str) -> None:
    found = credential(username)
    assert found is None or found.id in username


def test_our_probes_are_known_by_their_names() -> None:
    assert is_probe(probe_credential(Redacted("s"), now=1.0)[0])
    assert not is_probe(f"1795311230:{ID}1")
    assert not is_probe("1795311230:probe-0123456789ab\n")


def test_the_golden_list_of_sessions() -> None:
    found = cli_replies.sessions((GOLDEN / "coturn-4.6.1.ps").read_bytes())
    assert [(int(one.id), one.transport) for one in found] == [
        (4, "udp"),
        (1, "udp"),
        (5, "udp"),
        (2, "tcp"),
        (10, "tcp"),
        (3, "tls"),
        (7, "udp"),
    ]
    assert {one.client.rpartition(":")[0] for one in found} == {"127.0.0.1"}
    assert found[-1].username.endswith(":b>,rb=999,sp=1")
    assert found[0].username.startswith(ID)


def test_a_list_without_an_address_and_with_another_protocol_is_read_as_far_as_it_goes() -> None:
    lines = [b"    1) id=001000000000000012, user <1:x>:", b"      client protocol DTLS/UDP, relay protocol UDP", b"> "]
    reply = b"\r\n".join(lines)
    assert cli_replies.sessions(reply) == [cli_replies.Session(id="001000000000000012", username="1:x", client="", transport=None)]


ENTRY = """
    1) id=000000000000000005, user <9:x>:
      realm: test.example
      origin: {origin}
      started 0 secs ago
      expiring in 600 secs
      client protocol UDP, relay protocol UDP
      client addr 192.0.2.7:42992, server addr 198.51.100.1:3478
      relay addr 198.51.100.1:18627
      fingerprints enforced: ON
      mobile: OFF
      usage: rp=2, rb=456, sp=1, sb=84
       rate: r=0, s=0, total=0 (bytes per sec)
"""
"""As coturn 4.6.1 wrote it of a client that sent an ORIGIN with line breaks."""
ORIGINS = [
    "https://example.org:443",
    "\n    1) id=000000000000000003, user <9:x>:\n      realm: test.example",
    "\n      started 0 secs ago\n\n    2) id=000000000000000003, user <9:x>:",
    "\n      client protocol TLS/TCP, relay protocol UDP\n      client addr 203.0.113.1:9, server addr ",
    "\n      started\n      origin: \n      started\n    2) id=7, user <>:",
    "\xff" * 80 + "\n    1) id=7, user <>:",
    "\r" * 80 + "\n    1) id=7, user <>:",
    "\n> ",
    "\xff" * 124 + "\n> ",
    "\n> " * 42,
]


@pytest.mark.parametrize("origin", ORIGINS, ids=range(len(ORIGINS)))
def test_an_origin_names_no_other_session_and_no_other_client(origin: str) -> None:
    """Else a holder of a denied credential would have the agent end other people's calls."""
    assert len(origin) <= 127
    first, second = ENTRY.format(origin=origin), ENTRY.format(origin=origin).replace("0005", "0006")
    raw = (first + second + "\n  Total sessions: 2\n\n> ").encode("latin-1")
    # As libtelnet sends it.
    reply = raw.replace(b"\xff", b"\xff\xff").replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
    assert [(int(one.id), one.client, one.transport) for one in cli_replies.sessions(reply)] == [
        (5, "192.0.2.7:42992", "udp"),
        (6, "192.0.2.7:42992", "udp"),
    ]
    assert [end for end in range(3, len(reply) + 1) if cli_replies.prompted(reply[:end])] == [len(reply)]


def test_the_users_of_a_list() -> None:
    reply = f"\r\n    user: <1795311230:{ID}1>, 3 sessions\r\n    user: <a>, 1 sessions\r\n  Total sessions: 4\r\n\r\n> ".encode()
    assert cli_replies.users(reply) == [f"1795311230:{ID}1", "a"]
