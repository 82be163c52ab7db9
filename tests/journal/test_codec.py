"""Frames and records: every truncation and every damaged byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.journal.codec import MAX_PAYLOAD_BYTES, decode_frames, encode_frame
from controlplane.journal.record import decode_issue, encode_issue
from tests.builders import make_issue

payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


@given(payloads)
def test_what_was_encoded_is_decoded(given_payloads: list[bytes]) -> None:
    data = b"".join(encode_frame(payload) for payload in given_payloads)
    decoded = decode_frames(data)
    assert (decoded.payloads, decoded.consumed, decoded.damaged) == (given_payloads, len(data), False)


@given(payloads)
def test_every_truncation_keeps_every_whole_frame(given_payloads: list[bytes]) -> None:
    frames = [encode_frame(payload) for payload in given_payloads]
    data = b"".join(frames)
    ends = [sum(len(frame) for frame in frames[: count + 1]) for count in range(len(frames))]
    for cut in range(len(data) + 1):
        decoded = decode_frames(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert decoded.payloads == given_payloads[:whole]
        assert decoded.consumed == sum(len(frame) for frame in frames[:whole])
        assert not decoded.damaged


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=4), st.data())
def test_a_damaged_byte_never_yields_a_wrong_payload(given_payloads: list[bytes], data: st.DataObject) -> None:
    encoded = bytearray(b"".join(encode_frame(payload) for payload in given_payloads))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    decoded = decode_frames(bytes(encoded))
    assert decoded.payloads == given_payloads[: len(decoded.payloads)]
    assert len(decoded.payloads) < len(given_payloads)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    decoded = decode_frames(data)
    assert 0 <= decoded.consumed <= len(data)


def test_zeros_that_a_crash_left_are_damage_not_frames() -> None:
    decoded = decode_frames(encode_frame(b"x") + bytes(4096))
    assert (decoded.payloads, decoded.damaged) == ([b"x"], True)


def test_a_limit_stops_early() -> None:
    decoded = decode_frames(encode_frame(b"a") * 5, limit=2)
    assert (decoded.payloads, decoded.consumed) == ([b"a", b"a"], 2 * len(encode_frame(b"a")))


@pytest.mark.parametrize("payload", [b"", bytes(MAX_PAYLOAD_BYTES + 1)])
def test_an_empty_or_huge_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="journal frame"):
        encode_frame(payload)


def test_an_issue_survives_the_journal() -> None:
    issue = make_issue(
        room="room-1", client_address="2001:db8::1", fixed_region="eu-central", node_ids=("a", "b"), secret_versions=(1, 2)
    )
    assert decode_issue(encode_issue(issue)) == issue
    assert decode_issue(encode_issue(make_issue())) == make_issue()
