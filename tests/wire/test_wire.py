"""The contract: golden messages, tokens, secrets that do not print."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.wire.agent_api import Heartbeat, HeartbeatReply, JoinReply, NodeSecret, secret_digest
from controlplane.wire.problem import PROBLEMS
from controlplane.wire.redacted import Redacted
from controlplane.wire.token_format import KINDS, make_token, parse_token

GOLDEN = Path(__file__).parent / "golden"


def test_a_heartbeat_of_protocol_1_decodes_for_ever() -> None:
    beat = msgspec.json.decode((GOLDEN / "heartbeat-1.json").read_bytes(), type=Heartbeat)
    assert (beat.sequence, beat.coturn.state, beat.secrets[0].version) == (12, "running", 1)


def test_the_reply_of_protocol_1_is_still_understood() -> None:
    reply = msgspec.json.decode((GOLDEN / "heartbeat-reply-1.json").read_bytes(), type=HeartbeatReply)
    assert (reply.intent, reply.secret_versions, reply.secrets) == ("active", [1], None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sequence",), 0),
        (("boot_id",), "short"),
        (("boot_id",), 'quote"quote"'),
        (("coturn", "state"), "sleeping"),
        (("listeners", 0, "host"), "relay.example\r\nX-Injected: 1"),
        (("listeners", 0, "port"), 0),
        (("listeners", 0, "transport"), "sctp"),
        (("load", "allocations"), -1),
        (("load", "receive_bits_per_second"), -1.0),
        (("capacity", "bits_per_second"), 0),
        (("capacity", "bits_per_second"), 1e-10),
        (("capacity", "packets_per_second"), 1e-10),
        (("secrets", 0, "digest"), "XYZ"),
        (("sent_at",), "now"),
    ],
)
def test_a_heartbeat_outside_its_bounds_is_refused(path: tuple[str | int, ...], value: object) -> None:
    beat = msgspec.json.decode((GOLDEN / "heartbeat-1.json").read_bytes())
    target = beat
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(beat, Heartbeat)


@pytest.mark.parametrize("kind", sorted(KINDS.values()))
def test_a_token_is_parsed_back_and_shows_nothing(kind: str) -> None:
    token, made = make_token(kind, os.urandom(32))
    assert parse_token(token.reveal()) == made
    assert made.kind == kind
    assert len(token.reveal()) == 54
    assert token.reveal() not in f"{token!r} {token} {token:>80}"


def test_every_single_changed_character_is_noticed() -> None:
    text = make_token("project", bytes(32))[0].reveal()
    for position in range(4, len(text)):
        other = "1" if text[position] == "0" else "0"
        assert parse_token(text[:position] + other + text[position + 1 :]) is None


@given(st.text(max_size=80))
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert parse_token(text) is None


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="random bytes"):
        make_token("project", bytes(31))


def test_secrets_do_not_print_copy_or_serialise() -> None:
    secret = Redacted("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:>40}"
    assert secret == Redacted("hunter2")
    assert secret != Redacted("hunter3")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    assert "geheim" not in repr(NodeSecret(version=1, secret="geheim"))
    reply = JoinReply(node_id="n", node_token="tfn_geheim", region="r", realm="r", interval_seconds=2.0)
    assert "geheim" not in repr(reply)


def test_the_digest_of_a_secret_is_short_and_its_own() -> None:
    assert secret_digest("a") != secret_digest("b")
    assert len(secret_digest("a")) == 16


def test_every_problem_says_what_to_do() -> None:
    for problem in PROBLEMS.values():
        assert problem.meaning.endswith(".")
        assert problem.remedy.endswith(".")
        assert (problem.retry_after_seconds is not None) == (problem.status in {429, 503})
