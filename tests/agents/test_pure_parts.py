"""Back-off, reports, plans, capabilities and the parser of coturn's command line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.backoff import LONGEST_ASKED_SECONDS, asked_delay, ceiling, full_jitter, heartbeat_delay
from agents.coturn import cli_replies
from agents.coturn.capabilities import NOTHING, of_version, parse_version
from agents.plan import Action, ChangeRealm, LocalState, SetIntent, SetInterval, StartCoturn, WriteSecrets, applied, plan
from agents.report import Meter, Rates, Sample, grown, load, metered
from controlplane.wire.agent_api import HeartbeatReply, Intent, NodeSecret
from controlplane.wire.redacted import Redacted

draws = st.floats(0, 1)


# back-off


@given(failures=st.integers(0, 10_000), draw=draws)
def test_a_delay_is_never_negative_and_never_above_the_cap(failures: int, draw: float) -> None:
    assert 0 <= full_jitter(failures, draw, base_seconds=0.5, cap_seconds=30) <= 30


@given(failures=st.integers(0, 10_000), draw=draws, interval=st.floats(0.1, 300))
def test_a_failing_agent_asks_no_faster_than_a_healthy_one_and_within_two_intervals(
    failures: int, draw: float, interval: float
) -> None:
    delay = heartbeat_delay(failures, draw, interval_seconds=interval)
    assert 0.899 * interval <= delay <= 2 * interval


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0.5), (2, 1), (3, 2), (7, 30), (500, 30)])
def test_the_ceiling_doubles_up_to_the_cap(failures: int, seconds: float) -> None:
    assert ceiling(failures, base_seconds=0.5, cap_seconds=30) == seconds


@given(seconds=st.none() | st.floats(-10, 1e12), draw=draws)
def test_what_a_server_asks_for_is_waited_within_bounds(seconds: float | None, draw: float) -> None:
    delay = asked_delay(seconds, draw)
    assert 0 <= delay <= 1.1 * LONGEST_ASKED_SECONDS
    if seconds is not None:
        assert delay >= min(seconds, LONGEST_ASKED_SECONDS)


# reports

SAMPLE = Sample(
    at=100.0,
    receive_bytes=1000,
    transmit_bytes=2000,
    receive_packets=10,
    transmit_packets=20,
    cpu_busy=50.0,
    cpu_total=200.0,
    memory_ratio=0.25,
)


def test_the_first_sample_has_no_rates() -> None:
    assert metered(None, SAMPLE) == Meter(sample=SAMPLE, rates=Rates())


def test_rates_are_what_was_counted_over_the_time_between() -> None:
    later = replace(
        SAMPLE, at=102.0, receive_bytes=3000, transmit_bytes=2500, receive_packets=14, transmit_packets=20, cpu_busy=60.0,
        cpu_total=240.0,
    )  # fmt: skip
    assert metered(metered(None, SAMPLE), later).rates == Rates(
        receive_bits_per_second=8000.0,
        transmit_bits_per_second=2000.0,
        receive_packets_per_second=2.0,
        transmit_packets_per_second=0.0,
        cpu_ratio=0.25 * (1 - math.exp(-2 / 15)),
    )


def test_a_heartbeat_sent_at_once_repeats_the_last_rates() -> None:
    before = metered(metered(None, SAMPLE), replace(SAMPLE, at=102.0, receive_bytes=3000))
    assert metered(before, replace(SAMPLE, at=102.1, receive_bytes=999_999)) is before


@given(before=st.integers(0, 2**63), now=st.integers(0, 2**63))
def test_a_counter_that_fell_began_again_at_zero(before: int, now: int) -> None:
    growth = grown(before, now)
    assert growth == (now - before if now >= before else now)
    assert growth >= 0


@given(
    first=st.builds(Sample, **dict.fromkeys(Sample.__annotations__, st.floats(0, 1e12))),
    second=st.builds(Sample, **dict.fromkeys(Sample.__annotations__, st.floats(0, 1e12))),
)
def test_no_two_samples_give_an_impossible_load(first: Sample, second: Sample) -> None:
    found = load(metered(metered(None, first), second), allocations=1, memory_ratio=0.5, open_files=2, open_files_limit=3)
    assert found.receive_bits_per_second >= 0
    assert found.transmit_packets_per_second >= 0
    assert 0 <= found.cpu_ratio <= 1


# plans

STATE = LocalState(realm="r", intent=None, interval_seconds=2.0, secrets={}, coturn_wanted=False)


def secret_of(version: int) -> str:
    return f"secret-{version}"


def reply(
    *versions: int,
    told: bool = True,
    intent: Intent = "active",
    realm: str = "r",
    interval: float = 2.0,
    end_allocations: bool = False,
    wanted_at: float = 0.0,
) -> HeartbeatReply:
    return HeartbeatReply(
        interval_seconds=interval,
        intent=intent,
        realm=realm,
        secret_versions=list(versions),
        secrets=[NodeSecret(version=one, secret=secret_of(one)) for one in versions] if told else None,
        server_at=1.0,
        end_allocations=end_allocations,
        wanted_at=wanted_at,
    )


def done(state: LocalState, actions: list[Action]) -> LocalState:
    for action in actions:
        state = applied(state, action)
    return state


def held(*versions: int) -> dict[int, Redacted]:
    return {one: Redacted(secret_of(one)) for one in versions}


def test_a_new_node_gets_its_secrets_before_coturn_starts() -> None:
    assert plan(reply(1), STATE) == [
        WriteSecrets(realm="r", secrets=held(1)),
        SetIntent(intent="active"),
        StartCoturn(),
    ]


def test_a_node_that_is_right_has_nothing_to_do() -> None:
    state = replace(STATE, intent="active", secrets=held(1, 2), coturn_wanted=True)
    assert plan(reply(1, 2, told=False), state) == []


def test_no_versions_at_all_withdraws_every_secret() -> None:
    state = replace(STATE, intent="draining", secrets=held(1, 2), coturn_wanted=True)
    assert plan(reply(intent="draining"), state) == [WriteSecrets(realm="r", secrets={})]
    assert plan(reply(intent="draining", told=False), state) == [WriteSecrets(realm="r", secrets={})]


def test_a_version_that_is_no_longer_wanted_goes_without_its_secret_being_told() -> None:
    state = replace(STATE, intent="active", secrets=held(1, 2), coturn_wanted=True)
    assert plan(reply(2, told=False), state) == [WriteSecrets(realm="r", secrets=held(2))]


def test_a_wanted_version_without_its_secret_touches_nothing() -> None:
    state = replace(STATE, intent="active", secrets=held(1), coturn_wanted=True)
    assert plan(reply(2, told=False), state) == []


def test_coturn_is_not_started_without_secrets_unless_none_are_wanted() -> None:
    assert StartCoturn() not in plan(reply(1, told=False), STATE)
    assert StartCoturn() in plan(reply(intent="draining"), STATE)


def test_a_new_realm_comes_before_the_secrets_that_are_kept_under_it() -> None:
    state = replace(STATE, intent="active", secrets=held(1), coturn_wanted=True)
    assert plan(reply(1, told=False, realm="s"), state) == [
        ChangeRealm(realm="s"),
        WriteSecrets(realm="s", secrets=held(1)),
    ]


@pytest.mark.parametrize(("told", "taken"), [(0.0, 0.1), (-5.0, 0.1), (7.5, 7.5), (1e9, 300.0)])
def test_an_interval_is_taken_within_bounds(told: float, taken: float) -> None:
    assert SetInterval(seconds=taken) in plan(reply(1, interval=told), STATE)


def test_a_wish_that_is_older_than_one_before_is_not_followed() -> None:
    newest = reply(intent="draining", wanted_at=20.0, end_allocations=True)
    state = done(replace(STATE, intent="active", secrets=held(1), coturn_wanted=True), plan(reply(1, wanted_at=10.0), STATE))
    state = done(state, plan(newest, state))
    assert (state.intent, dict(state.secrets), state.ending) == ("draining", {}, True)
    # A replica that PostgreSQL has not told for a while.
    assert plan(reply(1, wanted_at=10.0, interval=4.0), state) == [SetInterval(seconds=4.0)]
    assert plan(newest, state) == []
    # An older control plane does not say it.
    assert WriteSecrets(realm="r", secrets=held(1)) in plan(reply(1), state)


versions = st.lists(st.integers(1, 5), max_size=4, unique=True)


@given(
    wanted=versions,
    have=versions,
    told=st.booleans(),
    realm=st.sampled_from(["r", "s"]),
    intent=st.sampled_from(["active", "cordoned", "draining"]),
    coturn=st.booleans(),
    interval=st.floats(-1, 1000),
    ending=st.booleans(),
    wanted_at=st.sampled_from([0.0, 5.0]),
)
def test_a_plan_that_was_done_leaves_nothing_to_do(
    wanted: list[int],
    have: list[int],
    told: bool,
    realm: str,
    intent: Intent,
    coturn: bool,
    interval: float,
    ending: bool,
    wanted_at: float,
) -> None:
    state = replace(STATE, secrets=held(*have), coturn_wanted=coturn)
    asked = reply(*wanted, told=told, realm=realm, intent=intent, interval=interval, end_allocations=ending, wanted_at=wanted_at)
    after = done(state, plan(asked, state))
    assert plan(asked, after) == []
    assert after.ending is ending
    if told or set(wanted) <= set(have):
        assert dict(after.secrets) == held(*wanted)
    else:
        assert dict(after.secrets) == held(*have)


def test_no_secret_shows_in_an_action() -> None:
    assert secret_of(1) not in repr(plan(reply(1), STATE))


# capabilities


@pytest.mark.parametrize(
    ("version", "drain"), [("4.5.2", False), ("4.6.1", False), ("4.6.3", True), ("4.10.0", True), ("4.17.1", True), ("5.0", True)]
)
def test_a_version_can_what_it_was_seen_to(version: str, drain: bool) -> None:
    assert of_version(version).signal_drain is drain


@pytest.mark.parametrize("version", [None, "", "unknown", "4", "v", "10.0.0.1"])
def test_an_unknown_version_can_do_nothing(version: str | None) -> None:
    assert of_version(version) == NOTHING


@given(st.text())
def test_no_text_breaks_the_version_parser(text: str) -> None:
    parse_version(text)


# the command line of coturn

GREETING_4_6_1 = b"TURN Server\r\nCoturn-4.6.1 'Gorst'\r\n\r\nType '?' for help\r\nEnter password: \r\n"
GREETING_4_17_1 = GREETING_4_6_1.replace(b"4.6.1", b"4.17.1")
TOTALS_4_6_1 = b"\r\n  Total sessions: 0\r\n\r\n> "
TOTALS = (
    b"\r\n    user: <1795311230:b3cbc7c0-0000>, 3 sessions\r\n    user: <1795311231:c0ffee>, 1 sessions\r\n"
    b"\r\n  Total sessions: 4\r\n\r\n> "
)


@pytest.mark.parametrize(("greeting", "version"), [(GREETING_4_6_1, "4.6.1"), (GREETING_4_17_1, "4.17.1"), (b"hello", None)])
def test_the_greeting_names_the_version(greeting: bytes, version: str | None) -> None:
    assert cli_replies.version(greeting) == version


def test_the_greeting_is_over_with_its_question() -> None:
    assert cli_replies.greeted(GREETING_4_6_1)
    assert not cli_replies.greeted(GREETING_4_6_1[:40])


@pytest.mark.parametrize(("reply", "total"), [(TOTALS_4_6_1, 0), (TOTALS, 4), (b"\r\n> ", None), (b"", None)])
def test_the_total_is_read_from_the_last_line(reply: bytes, total: int | None) -> None:
    assert cli_replies.total_sessions(reply) == total


def test_a_user_name_cannot_pretend_to_be_the_total() -> None:
    assert cli_replies.total_sessions(TOTALS.replace(b"c0ffee", b"Total sessions: 99")) == 4


def test_a_list_without_sessions_is_empty() -> None:
    """The session that was asked for ended in between."""
    assert cli_replies.sessions(b"  Total sessions: 0\r\n> ") == []


def test_a_reply_is_over_only_with_the_prompt_on_its_own_line() -> None:
    assert cli_replies.prompted(TOTALS)
    assert cli_replies.prompted(b"> ")
    cut = TOTALS.index(b"> ") if b"> " in TOTALS[:-2] else TOTALS.index(b">") + 1
    assert not cli_replies.prompted(TOTALS[:cut])


@given(st.binary())
def test_no_bytes_break_the_parser(received: bytes) -> None:
    cli_replies.version(received)
    cli_replies.total_sessions(received)
    cli_replies.greeted(received)
    cli_replies.prompted(received)
