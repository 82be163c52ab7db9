"""One call from its first attempt to its last, as a generator that asks its driver to send or to wait: no socket, no loop."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import msgspec

from controlplane.client.call import Answer, Call
from controlplane.client.errors import (
    AnswerUnreadableError,
    ApiError,
    ConnectionFailedError,
    RateLimitedError,
    TurnfleetError,
    UnavailableError,
    class_for,
)
from controlplane.wire.problem import ProblemBody

_FIRST_WAIT_SECONDS = 0.2
_JITTER_SHARE = 0.25
"""Callers that were refused together must not come back together."""
_GOOD = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often, and how long in all, a call is tried. `Retries(attempts=1)` tries once."""

    attempts: int = 4
    total_seconds: float = 20.0
    """No wait begins that would end later than this after the first attempt began."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send it, and hand back the answer or a ConnectionFailedError."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


Step = Send | Wait
Outcome = Answer | ConnectionFailedError | None


def exchange(
    call: Call[Any],
    retries: Retries,
    *,
    clock: Callable[[], float] = time.monotonic,
    dice: Callable[[], float] = random.random,
) -> Generator[Step, Outcome, Answer]:
    """Returns the good answer, or raises what the last attempt ended with."""
    started = clock()
    attempt = 0
    while True:
        attempt += 1
        outcome = yield Send()
        if isinstance(outcome, Answer) and outcome.status in _GOOD:
            return outcome
        error = problem_of(outcome) if isinstance(outcome, Answer) else outcome or ConnectionFailedError("Nothing was answered.")
        if attempt >= retries.attempts or not _may_repeat(call, error):
            raise error
        seconds = _wait_seconds(attempt, error) * (1 + _JITTER_SHARE * dice())
        if clock() - started + seconds > retries.total_seconds:
            raise error
        yield Wait(seconds)


def _may_repeat(call: Call[Any], error: TurnfleetError) -> bool:
    if isinstance(error, RateLimitedError):
        return True
    if isinstance(error, UnavailableError):
        return call.repeat != "limited"
    return isinstance(error, ConnectionFailedError) and call.repeat == "always"


def _wait_seconds(attempt: int, error: TurnfleetError) -> float:
    if isinstance(error, ApiError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return float(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))


def problem_of(answer: Answer) -> TurnfleetError:
    """The exception for an answer that is not 2xx."""
    if answer.status < _GOOD.stop:
        return AnswerUnreadableError(f"The answer has the status {answer.status}, which this API never sends.")
    retry_after = answer.headers.get("retry-after", "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    try:
        problem = msgspec.json.decode(answer.body, type=ProblemBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = ProblemBody(
            type="",
            title="No problem document",
            status=answer.status,
            detail=f"{answer.status} was answered by something that is not turnfleet's API: check the URL, or the proxy before it.",
            code="",
            request_id=answer.headers.get("x-request-id", ""),
        )
    return class_for(answer.status)(
        status=answer.status,
        code=problem.code,
        title=problem.title,
        detail=problem.detail,
        request_id=problem.request_id,
        errors=problem.errors,
        retry_after_seconds=seconds,
    )
