"""When a call is tried again, how long is waited, and what is raised in the end: without a socket."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controlplane.client.call import Answer, Call, Repeat, nothing
from controlplane.client.errors import (
    AnswerUnreadableError,
    ApiError,
    AuthenticationError,
    ConflictError,
    ConnectionFailedError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerFaultError,
    TurnfleetError,
    UnavailableError,
)
from controlplane.client.exchange import Outcome, Retries, Wait, exchange, problem_of

GOOD = Answer(status=200, headers={}, body=b"{}")
BROKEN = ConnectionFailedError("It is away.")


def refusal(status: int, *, retry_after: str | None = None, body: bytes | None = None) -> Answer:
    document = b'{"type":"/docs/errors/a","title":"A","status":%d,"detail":"Because.","code":"a","request_id":"r-1"}' % status
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Answer(status=status, headers=headers, body=document if body is None else body)


def run(
    outcomes: Sequence[Outcome], *, repeat: Repeat = "always", retries: Retries | None = None, dice: float = 0.0
) -> tuple[Answer | TurnfleetError, list[float]]:
    """(how it ended, the waits). The clock moves by the waits alone."""
    now, waits, left = 0.0, [], list(outcomes)
    call = Call(method="GET", path="/a", read=nothing, repeat=repeat)
    steps = exchange(call, retries or Retries(), clock=lambda: now, dice=lambda: dice)
    step = next(steps)
    try:
        while True:
            if isinstance(step, Wait):
                waits.append(step.seconds)
                now += step.seconds
                step = next(steps)
            else:
                step = steps.send(left.pop(0))
    except StopIteration as ended:
        assert not left
        return ended.value, waits
    except TurnfleetError as error:
        assert not left
        return error, waits


def test_a_good_answer_is_tried_once() -> None:
    assert run([GOOD]) == (GOOD, [])


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_repeated_after_retry_after(status: int) -> None:
    assert run([refusal(status, retry_after="3"), refusal(status, retry_after="5"), GOOD]) == (GOOD, [3.0, 5.0])


def test_without_retry_after_the_waits_double() -> None:
    _, waits = run([refusal(503), refusal(503), refusal(503), GOOD])
    assert waits == [pytest.approx(0.2), pytest.approx(0.4), pytest.approx(0.8)]


def test_a_wait_is_spread_upwards_so_that_nobody_comes_too_early() -> None:
    assert run([refusal(503, retry_after="4"), GOOD], dice=1.0)[1] == [5.0]


def test_attempts_are_bounded() -> None:
    ended, waits = run([refusal(503)] * 4)
    assert isinstance(ended, UnavailableError)
    assert len(waits) == 3
    assert run([refusal(503)], retries=Retries(attempts=1))[1] == []


def test_a_wait_that_would_end_too_late_is_not_begun() -> None:
    ended, waits = run([refusal(503, retry_after="12"), refusal(503, retry_after="12")])
    assert isinstance(ended, UnavailableError)
    assert waits == [12.0]
    assert run([refusal(503, retry_after="3600")])[1] == []


@pytest.mark.parametrize(
    ("repeat", "after_429", "after_503", "after_breaking"),
    [("always", True, True, True), ("refused", True, True, False), ("limited", True, False, False)],
)
def test_what_may_be_repeated(repeat: Repeat, after_429: bool, after_503: bool, after_breaking: bool) -> None:
    for first, repeated in ((refusal(429), after_429), (refusal(503), after_503), (BROKEN, after_breaking)):
        outcomes = [first, GOOD] if repeated else [first]
        ended, _ = run(outcomes, repeat=repeat)
        assert (ended is GOOD) == repeated, (repeat, first)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
def test_no_other_refusal_is_repeated(status: int) -> None:
    ended, waits = run([refusal(status, retry_after="1")])
    assert isinstance(ended, ApiError)
    assert waits == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, InvalidError),
        (409, ConflictError),
        (413, InvalidError),
        (422, InvalidError),
        (429, RateLimitedError),
        (500, ServerFaultError),
        (502, UnavailableError),
        (503, UnavailableError),
        (504, UnavailableError),
    ],
)
def test_each_family_has_its_class(status: int, kind: type[ApiError]) -> None:
    error = problem_of(refusal(status))
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, "a", "Because.", "r-1")
    assert str(error) == "Because."


def test_the_fields_that_are_wrong_are_named() -> None:
    body = (
        b'{"type":"t","title":"A","status":422,"detail":"d","code":"fields_invalid","request_id":"r",'
        b'"errors":[{"field":"ttl","message":"must be smaller"}]}'
    )
    error = problem_of(refusal(422, body=body))
    assert isinstance(error, InvalidError)
    assert [(each.field, each.message) for each in error.errors] == [("ttl", "must be smaller")]


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"\xff\xfe", b'{"status":"no"}', b"[" * 100_000])
def test_a_refusal_that_is_no_problem_document_says_so(body: bytes) -> None:
    error = problem_of(refusal(502, body=body))
    assert isinstance(error, UnavailableError)
    assert error.code == ""
    assert "not turnfleet's API" in str(error)


@pytest.mark.parametrize("status", [100, 204 - 5, 301, 302, 304])
def test_a_status_that_this_api_never_sends(status: int) -> None:
    error = problem_of(refusal(status, body=b""))
    assert isinstance(error, AnswerUnreadableError | InvalidError)
    assert "not turnfleet's API" in str(error) or "never sends" in str(error)


@pytest.mark.parametrize("retry_after", ["", "soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", "\u0663"])
def test_a_retry_after_that_is_no_number_of_seconds_counts_as_absent(retry_after: str) -> None:
    error = problem_of(refusal(503, retry_after=retry_after))
    assert isinstance(error, ApiError)
    assert error.retry_after_seconds is None
